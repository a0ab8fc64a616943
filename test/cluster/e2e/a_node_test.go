// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/test/cluster/node"
)

// TestServers checks the report of the node's first process.
func TestServers(t *testing.T) {
	s := start(t)
	status, err := s.NodeStatus("node1")
	if err != nil {
		t.Fatal(err)
	}
	if status.Phase != node.Ready {
		t.Errorf("phase %s: %s", status.Phase, status.Message)
	}
	for _, name := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
		"kubelet", "kube-proxy", "containerd",
	} {
		server, ok := status.Servers[name]
		if !ok || server.Exited != "" {
			t.Errorf("server %s does not run: %+v", name, server)
		}
	}
}

// TestExec checks commands in the node's namespaces.
func TestExec(t *testing.T) {
	s := start(t)
	ctx := testContext(t, time.Minute)
	out, err := s.NodeExec(ctx, "node1", "sh", "-c", "hostname; cat /proc/1/comm; ls /dev/kvm 2>/dev/null || true")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(out); len(got) != 2 || got[0] != "node1" || got[1] != "node" {
		t.Errorf("host name, first process and /dev/kvm inside the node: %q, want node1, node and nothing", out)
	}
	if _, err := s.NodeExec(ctx, "node1", "false"); err == nil {
		t.Error("a failing command gave no error")
	}
}

// TestVersions prints what the tests run on.
func TestVersions(t *testing.T) {
	s := start(t)
	ctx := testContext(t, time.Minute)
	versions, err := s.Builder().Versions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		t.Log(v)
	}
	for _, command := range []string{"containerd", "runc", "libvirtd", "qemu-system-x86_64", "nft"} {
		out, err := s.NodeExec(ctx, "node1", command, "--version")
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(out, "\n")
		t.Logf("Debian's %s", first)
	}
	out, err := s.NodeExec(ctx, "node1", "uname", "-sr")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kernel %s", strings.TrimSpace(out))
}
