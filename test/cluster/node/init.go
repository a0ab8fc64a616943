// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Arguments of the node program.
const (
	// EnterCgroups is the first stage. The process is the only one in new
	// namespaces. The cgroup namespace is still the host's.
	EnterCgroups = "enter-cgroups"
	// Init is the second stage: PID 1 of the node.
	Init = "init"
)

// Main runs a stage of the node's first process. It returns only if the stage
// fails.
func Main(stage, state string) error {
	c, err := Load(state)
	if err != nil {
		return err
	}
	switch stage {
	case EnterCgroups:
		return enterCgroups(c)
	case Init:
		return runInit(c)
	}
	return fmt.Errorf("unknown stage %q", stage)
}

// enterCgroups creates a cgroup namespace. Namespaces belong to threads, and exec
// keeps the namespaces of the calling thread.
func enterCgroups(c Config) error {
	if err := joinCgroups(c.Cgroups); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("new cgroup namespace: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, []string{"node", Init, c.State}, os.Environ())
}

func runInit(c Config) error {
	if err := enterRoot(c); err != nil {
		return err
	}
	if err := mountCgroups(c.Cgroups); err != nil {
		return err
	}
	if err := errors.Join(unix.Sethostname([]byte(c.Name)), etcFiles(c)); err != nil {
		return err
	}
	// The starting program moves one end of a veth pair into this network
	// namespace and then closes the standard input.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := network(c); err != nil {
		return err
	}
	s := newSupervisor()
	go s.reap()
	if err := servers(s, c); err != nil {
		s.phase(Failed, "%v", err)
	}
	select {} // The node runs until it is killed.
}

// etcFiles writes the files in /etc that the node's programs read.
func etcFiles(c Config) error {
	address, _, err := net.ParseCIDR(c.Address)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"/etc/hostname":    c.Name + "\n",
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", address, c.Name),
		"/etc/resolv.conf": "",
		"/etc/machine-id":  fmt.Sprintf("%032x\n", []byte(fmt.Sprintf("%-16.16s", c.Name))),
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/lock", 0o755)
}

// network sets the node's address on the link that the starting program moved
// into this network namespace.
func network(c Config) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("eth0 does not exist: %w", err)
	}
	address, err := netlink.ParseAddr(c.Address)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrReplace(eth0, address), netlink.LinkSetUp(eth0)); err != nil {
		return fmt.Errorf("set up interfaces: %w", err)
	}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: net.ParseIP(c.Gateway), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	for name, required := range map[string]bool{"net/ipv4/ip_forward": true, "net/bridge/bridge-nf-call-iptables": false} {
		path := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(path); err != nil && !required {
			continue
		}
		if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
