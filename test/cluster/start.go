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

	"github.com/vishvananda/netlink"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/pki"
)

// start makes the node and waits until its servers were started.
func (c *Cluster) start(ctx context.Context, parts parts) error {
	l := c.layout
	if err := os.MkdirAll(filepath.Join(l.state, node.LogDir), 0o755); err != nil {
		return err
	}
	if err := node.ClearStatus(l.state); err != nil {
		return err
	}
	err := pki.Write(pki.Request{
		Dir: filepath.Join(l.state, node.PKIDir), Node: NodeName,
		Server: "https://" + net.JoinHostPort(l.node.Addr().String(), "6443"),
		IPs:    []net.IP{l.node.Addr().AsSlice(), net.ParseIP("127.0.0.1"), net.ParseIP(firstIP)},
	})
	if err != nil {
		return err
	}
	groups, err := l.makeCgroups()
	if err != nil {
		return err
	}
	config := node.Config{
		Name: NodeName, State: l.state, Lower: []string{parts.nodeUpper, parts.base},
		Programs: map[string]string{"kube": parts.kube, "injector": parts.injector},
		Address:  l.node.String(), Gateway: l.host.Addr().String(),
		PodCIDR: podCIDR, ServiceCIDR: serviceCIDR, Cgroups: groups,
	}
	if err := config.Save(); err != nil {
		return err
	}
	if err := c.launch(parts.node); err != nil {
		return errors.Join(err, c.process.kill(), removeCgroups(groups))
	}
	return c.awaitServers(ctx)
}

// launch starts the node's first process in new namespaces and plugs the cable in.
func (c *Cluster) launch(program string) error {
	l := c.layout
	log, err := os.Create(filepath.Join(l.state, node.LogDir, "node.log"))
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
	cmd := exec.Command(program, node.EnterCgroups, l.state)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = plugged, log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := c.startProcess(cmd); err != nil {
		return fmt.Errorf("start the node: %w", err)
	}
	p, err := newProcess(cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := l.saveProcess(p); err != nil {
		return err
	}
	c.process = p
	return c.cable()
}

// startProcess starts cmd; for an owned cluster from a thread that lives as
// long as this program, because it is the thread whose end kills the node.
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

// cable connects the host with the node.
func (c *Cluster) cable() error {
	l := c.layout
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.link
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(c.process.PID)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link %s: %w", l.link, err)
	}
	address, err := netlink.ParseAddr(l.host.String())
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(veth, address), netlink.LinkSetUp(veth)); err != nil {
		return fmt.Errorf("set up link %s with %s: %w", l.link, l.host, err)
	}
	return nil
}

// awaitServers waits for the report of the node's first process.
func (c *Cluster) awaitServers(ctx context.Context) error {
	return c.Wait(ctx, "the node's servers", func(context.Context) (string, error) {
		if !c.process.alive() {
			return "", kube.Permanent(fmt.Errorf("the node's first process ended; see %s", filepath.Join(c.layout.state, node.LogDir, "node.log")))
		}
		s, err := node.ReadStatus(c.layout.state)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "the node's root file system", nil
		case err != nil:
			return "", err
		case s.Phase == node.Failed:
			return "", kube.Permanent(fmt.Errorf("%s (folder %s)", s.Message, c.layout.state))
		case s.Phase == node.Ready:
			return "", nil
		}
		return s.Message, nil
	})
}

// free checks that no cluster of another state directory has this one's names.
func (l layout) free() error {
	if _, err := netlink.LinkByName(l.link); err == nil {
		return fmt.Errorf("link %s is there, but not from %s: a cluster %s with another %s runs; stop that one, or choose another name",
			l.link, l.state, l.name, builder.CacheEnv)
	}
	return nil
}

// clean removes what a node that has ended left outside of its namespaces. The
// names are taken from the cluster's, so nothing is touched unless this state
// directory is known to have started a node.
func (l layout) clean() error {
	if _, err := os.Stat(l.processFile()); err != nil {
		return nil //nolint:nilerr // nothing was started
	}
	var errs []error
	if link, err := netlink.LinkByName(l.link); err == nil {
		errs = append(errs, netlink.LinkDel(link)) // gone with the node, unless its namespace is held
	}
	if config, err := node.Load(l.state); err == nil {
		errs = append(errs, removeCgroups(config.Cgroups))
	}
	if err := os.Remove(l.processFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
