// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/pki"
)

// startUnlessRunning starts a node after removing links and cgroups of an earlier
// run.
func (c *Cluster) startUnlessRunning(ctx context.Context, m *member, p *parts) error {
	if m.process.alive() && (m == c.first() || c.plugged(m)) {
		c.Logf("%s of cluster %s is already running", m.name, c.layout.name)
		return nil
	}
	if err := c.stopMember(m); err != nil {
		return fmt.Errorf("remove links and cgroups of an earlier run: %w", err)
	}
	if m == c.first() {
		if err := c.layout.free(); err != nil {
			return err
		}
	}
	c.Logf("starting %s of cluster %s", m.name, c.layout.name)
	if err := c.start(ctx, m, p); err != nil {
		return errors.Join(err, c.stop())
	}
	return nil
}

// start creates a node and waits until its servers are started.
func (c *Cluster) start(ctx context.Context, m *member, parts *parts) error {
	if err := os.MkdirAll(filepath.Join(m.state, node.LogDir), 0o755); err != nil {
		return err
	}
	if err := node.ClearStatus(m.state); err != nil {
		return err
	}
	if err := c.certificates(m); err != nil {
		return err
	}
	groups, err := m.makeCgroups()
	if err != nil {
		return err
	}
	config := node.Config{
		Name: m.name, State: m.state, Lower: []string{parts.nodeUpper, parts.base}, Role: node.ControlPlane,
		Programs: map[string]string{"kube": parts.kube},
		Address:  m.address.String(), Gateway: c.layout.host.Addr().String(),
		PodCIDR: m.podCIDR, ClusterCIDR: clusterCIDR, ServiceCIDR: serviceCIDR, Cgroups: groups,
	}
	if m != c.first() {
		config.Role, config.Gateway = node.Worker, c.first().address.Addr().String()
	}
	if err := config.Save(); err != nil {
		return err
	}
	if err := c.launch(m, parts.node); err != nil {
		return errors.Join(err, m.process.kill(), removeCgroups(groups))
	}
	return c.awaitServers(ctx, m)
}

// certificates creates a node's keys unless they exist.
func (c *Cluster) certificates(m *member) error {
	first := c.first()
	r := pki.Request{
		Dir: filepath.Join(m.state, node.PKIDir), Node: m.name,
		Server: "https://" + net.JoinHostPort(first.address.Addr().String(), "6443"),
		IPs:    []net.IP{m.address.Addr().AsSlice(), net.ParseIP("127.0.0.1"), net.ParseIP(firstIP)},
	}
	if m == first {
		return pki.Write(r)
	}
	return pki.WriteWorker(r, filepath.Join(first.state, node.PKIDir))
}

// launch starts a node's first process in new namespaces and connects its link.
func (c *Cluster) launch(m *member, program string) error {
	log, err := os.Create(filepath.Join(m.state, node.LogDir, "node.log"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the node has its own copy
	plugged, plug, err := os.Pipe()
	if err != nil {
		return err
	}
	defer plugged.Close() //nolint:errcheck // the node's end
	defer plug.Close()    //nolint:errcheck // this is what the node waits for
	cmd := exec.Command(program, node.EnterCgroups, m.state)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = plugged, log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := c.startProcess(cmd); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	if m.process, err = newProcess(cmd.Process.Pid); err != nil {
		return err
	}
	if err := m.saveProcess(); err != nil {
		return err
	}
	if m == c.first() {
		return c.cable()
	}
	return c.cableTo(m)
}

// startProcess starts cmd. For an owned cluster, it starts cmd from a thread
// that exists as long as this program, because the node is killed when that
// thread exits.
func (c *Cluster) startProcess(cmd *exec.Cmd) error {
	if !c.options.Owned {
		if err := cmd.Start(); err != nil {
			return err
		}
		go cmd.Wait() //nolint:errcheck // reaps it if it ends before this program
		return nil
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- cmd.Start()
		_ = cmd.Wait()
		select {}
	}()
	return <-started
}

// awaitServers waits until a node's first process reports that the servers are
// ready.
func (c *Cluster) awaitServers(ctx context.Context, m *member) error {
	return c.Wait(ctx, "the servers of "+m.name, func(context.Context) (string, error) {
		if !m.process.alive() {
			return "", kube.Permanent(fmt.Errorf("the node's first process exited; see %s", filepath.Join(m.state, node.LogDir, "node.log")))
		}
		s, err := node.ReadStatus(m.state)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "the node's root file system", nil
		case err != nil:
			return "", err
		case s.Phase == node.Failed:
			return "", kube.Permanent(fmt.Errorf("%s (folder %s)", s.Message, m.state))
		case s.Phase == node.Ready:
			return "", nil
		}
		return s.Message, nil
	})
}
