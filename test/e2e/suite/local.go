// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// localCluster is the cluster of test/cluster. Its nodes are processes on this
// machine.
type localCluster struct {
	options cluster.Options
	keep    bool
	// attach uses a running cluster and does not stop it.
	attach  bool
	cluster *cluster.Cluster
	// before is the footprint before the cluster was started.
	before footprint
}

func (*localCluster) name() string { return "local" }
func (*localCluster) local() bool  { return true }

func (l *localCluster) operator() operatorState {
	if l.attach || l.keep {
		return operatorUnknown
	}
	return operatorAbsent
}

func (l *localCluster) start(ctx context.Context) (*scenario.Scenario, error) {
	if l.attach {
		c, err := cluster.Attach(ctx, l.options)
		if err != nil {
			return nil, err
		}
		l.cluster = c
		return scenario.New(c), nil
	}
	// A run that was killed leaves a cluster.
	if err := cluster.Down(l.options, l.keep); err != nil {
		return nil, err
	}
	var err error
	if l.before, err = takeFootprint(l.options.Name); err != nil {
		return nil, err
	}
	return l.up(ctx)
}

func (l *localCluster) up(ctx context.Context) (*scenario.Scenario, error) {
	c, err := cluster.Up(ctx, l.options)
	if err != nil {
		return nil, err
	}
	l.cluster = c
	return scenario.New(c), nil
}

func (l *localCluster) restart(ctx context.Context) (*scenario.Scenario, error) {
	if err := l.cluster.Down(true); err != nil {
		return nil, err
	}
	if err := nothingLeft(l.options.Name, l.before); err != nil {
		return nil, err
	}
	return l.up(ctx)
}

func (l *localCluster) stop(t *testing.T) error {
	t.Helper()
	if l.attach {
		return nil
	}
	if err := l.cluster.Down(l.keep); err != nil {
		return err
	}
	if err := nothingLeft(l.options.Name, l.before); err != nil {
		return err
	}
	t.Log("the cluster left no mounts, links, nftables tables, cgroups and processes on this machine")
	return nil
}

// check checks the servers of the first node and commands in its namespaces, and
// prints the versions of the software.
func (*localCluster) check(ctx context.Context, t *testing.T, s *scenario.Scenario) error {
	t.Helper()
	return errors.Join(checkServers(s), checkExec(ctx, s), printVersions(ctx, t, s))
}

// checkServers checks the report of the first node's first process.
func checkServers(s *scenario.Scenario) error {
	status, err := s.NodeStatus("node1")
	if err != nil {
		return err
	}
	var errs []error
	if status.Phase != node.Ready {
		errs = append(errs, fmt.Errorf("node1: phase %s: %s", status.Phase, status.Message))
	}
	for _, name := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
		"kubelet", "kube-proxy", "containerd",
	} {
		server, ok := status.Servers[name]
		if !ok || server.Exited != "" {
			errs = append(errs, fmt.Errorf("node1: server %s does not run: %+v", name, server))
		}
	}
	return errors.Join(errs...)
}

// checkExec checks commands in the namespaces of a node.
func checkExec(ctx context.Context, s *scenario.Scenario) error {
	out, err := s.NodeExec(ctx, "node1", "sh", "-c", "hostname; cat /proc/1/comm; ls /dev/kvm 2>/dev/null || true")
	if err != nil {
		return err
	}
	if got := strings.Fields(out); len(got) != 2 || got[0] != "node1" || got[1] != "node" {
		return fmt.Errorf("host name, first process and /dev/kvm in the node: %q, want node1, node and no device", out)
	}
	if _, err := s.NodeExec(ctx, "node1", "false"); err == nil {
		return errors.New("NodeExec returned no error for a command that failed")
	}
	return nil
}

// printVersions prints the versions of the software that the tests use.
func printVersions(ctx context.Context, t *testing.T, s *scenario.Scenario) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	versions, err := s.Builder().Versions(ctx)
	if err != nil {
		return err
	}
	lines := make([]string, 0, len(versions)+6)
	for _, v := range versions {
		lines = append(lines, fmt.Sprint(v))
	}
	for _, command := range []string{"containerd", "runc", "libvirtd", "qemu-system-x86_64", "nft"} {
		out, err := s.NodeExec(ctx, "node1", command, "--version")
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(out, "\n")
		lines = append(lines, "Debian's "+first)
	}
	out, err := s.NodeExec(ctx, "node1", "uname", "-sr")
	if err != nil {
		return err
	}
	t.Logf("versions:\n%s\nkernel %s", strings.Join(lines, "\n"), strings.TrimSpace(out))
	return nil
}
