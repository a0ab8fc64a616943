// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/node"
)

// DefaultName is the name of the cluster of the demo and of the command
// local-cluster.
const DefaultName = "meshvm"

// Options describe a cluster. The zero value is the cluster of the demo.
type Options struct {
	// Name distinguishes clusters. The state, link, subnet and cgroups of a
	// cluster are derived from it.
	Name string
	// Subnet is the network between the host and the node. If empty, the subnet of
	// the cluster's earlier run is used, or 10.250.N.0/24 with N derived from the
	// name.
	Subnet string
	// Progress receives a line for each step. If nil, nothing is printed.
	Progress io.Writer
	// Builder builds the products. Defaults to a builder that reports to Progress.
	Builder *builder.Builder
	// Prebuild contains functions that are called when all parts of the cluster
	// have been built, while the cluster is still starting.
	Prebuild []func(context.Context, *builder.Builder) error
	// Owned stops the nodes when this program exits. Tests use it.
	Owned bool
	// Nodes is the number of nodes. Defaults to 1. If the cluster had more nodes
	// in its earlier run, it keeps them.
	Nodes int
	// NativeNftables makes Istio write its rules with nftables instead of iptables.
	NativeNftables bool
	// WithoutKubeVirt omits KubeVirt, Istio and the cluster's DNS. Tests of the
	// node use it.
	WithoutKubeVirt bool
}

// Networks that exist only in the nodes. All clusters use the same networks.
const (
	clusterCIDR = "10.244.0.0/16" // of pods, each node has a part of it
	serviceCIDR = "10.96.0.0/16"
	firstIP     = "10.96.0.1" // of the Service kubernetes
)

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// layout contains the names and addresses of a cluster.
type layout struct {
	name   string
	state  string       // directory of all state
	link   string       // the host's end of the cable
	cgroup string       // last part of cgroup paths
	host   netip.Prefix // the host's address on the cable
	node   netip.Prefix // the first node's
}

func (o Options) layout() (layout, error) {
	name := o.Name
	if name == "" {
		name = DefaultName
	}
	if !validName.MatchString(name) || len(name) > 40 {
		return layout{}, fmt.Errorf("cluster name %q: use at most 40 lower-case letters, digits and dashes", name)
	}
	cache, err := builder.CacheDir()
	if err != nil {
		return layout{}, err
	}
	state := filepath.Join(cache, "clusters", name)
	subnet := o.Subnet
	if subnet == "" {
		subnet = fmt.Sprintf("10.250.%d.0/24", number(name))
		if before, err := node.Load(state); err == nil {
			subnet = before.Address // of the first node, with the length of the prefix
		}
	}
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil || !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return layout{}, fmt.Errorf("subnet %q: want an IPv4 network with room for two addresses, such as 10.250.7.0/24", subnet)
	}
	if o.Nodes < 0 || o.Nodes > 5 || (o.Nodes > 1 && prefix.Bits() > 28) {
		return layout{}, fmt.Errorf("%d nodes in subnet %s: want one to five, with more than one in a network of /28 or larger", o.Nodes, subnet)
	}
	host := prefix.Masked().Addr().Next()
	return layout{
		name:   name,
		state:  state,
		link:   linkName(name),
		cgroup: "meshvm-" + name,
		host:   netip.PrefixFrom(host, prefix.Bits()),
		node:   netip.PrefixFrom(host.Next(), prefix.Bits()),
	}, nil
}

// number returns the number of a name's subnet. The default name has the first.
func number(name string) uint32 {
	if name == DefaultName {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return 1 + h.Sum32()%254
}

// linkName returns an interface name of at most fifteen characters.
func linkName(name string) string {
	if len(name) <= 11 {
		return "mvm-" + name
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("mvm-%x", h.Sum32())
}

func (l layout) kubeconfig() string { return filepath.Join(l.state, "pki", "admin.kubeconfig") }

// exists reports whether state of this or an earlier run of the cluster exists.
func (l layout) exists() bool {
	_, err := os.Stat(l.state)
	return err == nil
}

// stateFormat is the version of the state. It is increased when the deployed
// software is no longer compatible with older state.
const stateFormat = "2"

// forgetOlder removes the state of a stopped cluster if it has another
// stateFormat. It reports whether it removed state.
func (l layout) forgetOlder() (bool, error) {
	if _, running := l.member(0).running(); running {
		return false, nil
	}
	entries, err := os.ReadDir(l.state)
	if err != nil {
		return false, err
	}
	path := filepath.Join(l.state, "format")
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	older := len(entries) > 0 && string(raw) != stateFormat
	if older {
		err := errors.Join(os.RemoveAll(l.state), os.MkdirAll(l.state, 0o755))
		if err != nil {
			return false, err
		}
	}
	return older, os.WriteFile(path, []byte(stateFormat), 0o644)
}
