// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// member is one node of a cluster. The first runs the control plane.
type member struct {
	name    string
	state   string       // directory of persistent state
	cgroup  string       // last part of cgroup paths
	address netip.Prefix // address on its link
	podCIDR string
	process process
}

// nodesDir is the directory in the cluster's state of the other nodes' state.
const nodesDir = "nodes"

// member describes the node with an index, from 0. The node does not have to
// exist.
func (l layout) member(i int) *member {
	m := &member{
		name: nodeName(i), state: l.state, cgroup: l.cgroup, address: l.node,
		podCIDR: fmt.Sprintf("10.244.%d.0/24", i),
	}
	if i == 0 {
		return m
	}
	m.state = filepath.Join(l.state, nodesDir, m.name)
	m.cgroup += "." + m.name // Names of clusters do not contain dots.
	address := l.node.Addr()
	for range i {
		address = address.Next()
	}
	m.address = netip.PrefixFrom(address, 32) // The other end of its link is in the first node.
	return m
}

func nodeName(i int) string { return fmt.Sprintf("node%d", i+1) }

// members returns the requested nodes and the nodes with state of an earlier
// run. The process is set for running nodes.
func (l layout) members(wanted int) []*member {
	var out []*member
	for i := 0; ; i++ {
		m := l.member(i)
		if _, err := os.Stat(m.state); err != nil && i >= wanted {
			return out
		}
		if p, running := m.running(); running {
			m.process = p
		}
		out = append(out, m)
	}
}

// first returns the node that runs the control plane.
func (c *Cluster) first() *member { return c.members[0] }

func (c *Cluster) member(name string) (*member, error) {
	i := slices.IndexFunc(c.members, func(m *member) bool { return m.name == name })
	if i < 0 {
		return nil, fmt.Errorf("cluster %s has no node %q; it has %v", c.layout.name, name, c.Nodes())
	}
	return c.members[i], nil
}

// Nodes returns the names of the cluster's nodes.
func (c *Cluster) Nodes() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.name)
	}
	return out
}
