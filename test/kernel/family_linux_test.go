// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/ruleio"
)

// family is an address family of a lab with the addresses of all participants.
type family struct {
	// name is the name for texts.
	name string
	// number is the digit in the networks of package net. nft is the name in
	// nftables.
	number, nft string
	// pod, peer, guest and gateway are the addresses on the links: pod and peer
	// on one link, guest and bridge on the other.
	pod, peer, guest, gateway string
	// outside is a host in outsideCIDR. excluded is a host in excludedCIDR.
	outside, outsideCIDR, excluded, excludedCIDR string
	// loopback is the address that the proxy and its agent use for local
	// connections.
	loopback string
	// wildcard is the address for servers that listen on all addresses.
	wildcard string
	// upstream is the source address of the proxy's inbound connections (Istio,
	// pilot/pkg/networking/core, InboundPassthroughBindIpv4 and -Ipv6).
	upstream string
	// kubelet is the source address of the kubelet's probes in ambient mode
	// (Istio, cni/pkg/nodeagent, DefaultHostProbeSNATIP and
	// DefaultHostProbeSNATIPV6).
	kubelet string
	// length is the prefix length of the link between pod and peer. guestLength
	// is the prefix length of the guest's link.
	length, guestLength int
	// forwarding is the setting below /proc/sys/net that enables routing.
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

// tcp and udp return the networks for probes of the family.
func (f family) tcp() string { return "tcp" + f.number }
func (f family) udp() string { return "udp" + f.number }

// familyOf returns the family of an address.
func familyOf(host string) family {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return ipv6
	}
	return ipv4
}

// defaultRoute adds a default route through the gateway.
func defaultRoute(gateway string) error {
	everything := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if familyOf(gateway).number == ipv6.number {
		everything = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return netlink.RouteAdd(&netlink.Route{Dst: everything, Gw: net.ParseIP(gateway)})
}

// address returns an address without duplicate address detection, which can be
// used immediately.
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
