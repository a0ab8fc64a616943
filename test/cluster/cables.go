// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/nsrun"
	"meshvm.io/meshvm/test/cluster/progress"
)

// cable connects the host with the first node.
func (c *Cluster) cable() error {
	l := c.layout
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l.link
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(c.first().process.PID)}
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

// cableTo connects the first node with another node. Neither end is on the
// host. The end in the first node has the name of the other node and no
// address. The first node has routes to the other node and its pods.
func (c *Cluster) cableTo(m *member) error {
	first := c.first().process.PID
	return nsrun.InNet(first, func() error {
		if err := removeLink(m.name); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = m.name
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(m.process.PID)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add the link to %s: %w", m.name, err)
		}
		_, pods, err := net.ParseCIDR(m.podCIDR)
		if err != nil {
			return err
		}
		self := net.IPNet{IP: m.address.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
		source := net.IP(c.first().address.Addr().AsSlice())
		return errors.Join(
			netlink.LinkSetUp(veth),
			netlink.RouteReplace(&netlink.Route{LinkIndex: veth.Index, Dst: &self, Src: source, Scope: netlink.SCOPE_LINK}),
			netlink.RouteReplace(&netlink.Route{LinkIndex: veth.Index, Dst: pods, Gw: self.IP, Src: source}),
		)
	})
}

// plugged reports whether the other end of a node's link is still in the first
// node, which may have been restarted.
func (c *Cluster) plugged(m *member) bool {
	return nsrun.InNet(c.first().process.PID, func() error {
		_, err := netlink.LinkByName(m.name)
		return err
	}) == nil
}

// free returns an error if a cluster with another state directory uses the same
// names.
func (l layout) free() error {
	if _, err := netlink.LinkByName(l.link); err == nil {
		return fmt.Errorf("link %s exists and does not belong to %s: a cluster %s with another %s is running; stop it, or choose another name",
			l.link, l.state, l.name, progress.CacheEnv)
	}
	return nil
}

// removeLink removes a link if it exists.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return deleteLink(link)
}

// deleteLink deletes a link. The kernel deletes the links of a stopped node
// asynchronously, so it may do that first.
func deleteLink(link netlink.Link) error {
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// stopMember stops a node and removes its link and cgroups. Their names are
// derived from the cluster's name, so they are removed only if a node was
// started with the state directory.
func (c *Cluster) stopMember(m *member) error {
	if m.process.PID != 0 {
		if err := m.process.kill(); err != nil {
			return err
		}
	}
	if _, err := os.Stat(m.processFile()); err != nil {
		return nil //nolint:nilerr // nothing was started
	}
	var errs []error
	if m == c.first() {
		errs = append(errs, removeLink(c.layout.link)) // The kernel removes the link with the node unless its namespace is in use.
	}
	if config, err := node.Load(m.state); err == nil {
		errs = append(errs, removeCgroups(config.Cgroups))
	}
	if err := os.Remove(m.processFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
