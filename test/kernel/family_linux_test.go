// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/ruleio"
)

// family is an address family of a lab, with everybody's address in it.
type family struct {
	// name is what people call it.
	name string
	// number is its digit in the networks of package net, nft its name there.
	number, nft string
	// pod, peer, guest and gateway are the addresses on the links: the pod's
	// and the peer's on one, the guest's and the bridge's on the other.
	pod, peer, guest, gateway string
	// outside is any host outside, in outsideCIDR; excluded is one in
	// excludedCIDR.
	outside, outsideCIDR, excluded, excludedCIDR string
	// loopback is where the proxy and its agent talk to themselves.
	loopback string
	// wildcard is what a server listens on to be reached by all.
	wildcard string
	// upstream is the proxy's address on its way inwards (Istio,
	// pilot/pkg/networking/core, InboundPassthroughBindIpv4 and -Ipv6).
	upstream string
	// kubelet is the source of its probes in ambient mode (Istio,
	// cni/pkg/nodeagent, DefaultHostProbeSNATIP and DefaultHostProbeSNATIPV6).
	kubelet string
	// length is that of the links' prefixes in bits, and guestLength that of
	// the guest's link.
	length, guestLength int
	// forwarding turns routing on, below /proc/sys/net.
	forwarding string
}

// The families of labs.
var (
	ipv4 = family{
		name: "IPv4", number: "4", nft: ruleio.FamilyIPv4,
		pod: podIP, peer: peerIP, guest: guestIP, gateway: gatewayIP,
		outside: outsideIP, outsideCIDR: "203.0.113.0/24", excluded: excludedIP, excludedCIDR: excludedCIDR,
		loopback: "127.0.0.1", wildcard: "0.0.0.0", upstream: "127.0.0.6", kubelet: "169.254.7.127",
		length: 24, guestLength: 24, forwarding: "ipv4/ip_forward",
	}
	ipv6 = family{
		name: "IPv6", number: "6", nft: ruleio.FamilyIPv6,
		pod: "fd00:244::8", peer: "fd00:244::1", guest: "fd10:0:2::2", gateway: "fd10:0:2::1",
		outside: "fd00:99::9", outsideCIDR: "fd00:99::/64", excluded: "fd00:98::7", excludedCIDR: "fd00:98::/32",
		loopback: "::1", wildcard: "::", upstream: "::6", kubelet: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
		length: 64, guestLength: 120, forwarding: "ipv6/conf/all/forwarding",
	}
)

// tcp and udp are the family's networks for probes.
func (f family) tcp() string { return "tcp" + f.number }
func (f family) udp() string { return "udp" + f.number }

// familyOf is the family of an address.
func familyOf(host string) family {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return ipv6
	}
	return ipv4
}

// defaultRoute sends everything of the gateway's family there.
func defaultRoute(gateway string) error {
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if familyOf(gateway).number == ipv6.number {
		everything = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return netlink.RouteAdd(&netlink.Route{Dst: everything, Gw: net.ParseIP(gateway)})
}

// address is an address that can be used immediately, without the detection of
// duplicates.
func address(host string, length int) *netlink.Addr {
	bits := 32
	if familyOf(host).number == ipv6.number {
		bits = 128
	}
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: net.ParseIP(host), Mask: net.CIDRMask(length, bits)},
		Flags: unix.IFA_F_NODAD,
	}
}
