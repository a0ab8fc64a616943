// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"net/netip"
	"slices"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// stack contains the parameters of the rules of one address family.
type stack struct {
	// name is the name in nftables. title is the name in comments.
	name, title string
	addresses   nft.DataType
	// is matches the family.
	is nft.Match
	// source and destination are the address fields.
	source, destination nft.Field
	// Names of the family's sets.
	excluded, included, local, never, gateways string
	// neverNetworks are the networks that a guest never addresses legitimately:
	// loopback, unspecified and, for IPv6, embedded IPv4 addresses (RFC 6890, RFC
	// 4291).
	neverNetworks []string
	// linkLocal are the networks of link-local addresses that the bridge has.
	linkLocal []string
	// loopback is the address at which processes in the pod reach each other.
	loopback string
	// notLocalhost are matches that every exclusion must include.
	notLocalhost []nft.Match
	// upstream matches the source of connections from the proxy to the guest
	// that the guest could not answer.
	upstream nft.Match
	// answersLoopback reports whether the guest can answer connections from
	// loopback addresses.
	answersLoopback bool
	// probes is the source address that istio-cni's rules on the node assign to
	// the kubelet's probes in ambient mode (Istio, cni/pkg/nodeagent,
	// DefaultHostProbeSNATIP and DefaultHostProbeSNATIPV6).
	probes string
	// defects are additional defects of the stock rules of this family in the
	// proxy's upstream connections.
	defects []Defect
}

// stacks are all families in the order of their rules.
var stacks = []stack{
	{
		name: ruleio.FamilyIPv4, title: "IPv4", addresses: nft.TypeIPv4Address,
		is: ipv4, source: nft.FieldSourceAddress, destination: nft.FieldDestinationAddress,
		excluded: SetOutboundExcludeIPv4, included: SetOutboundIncludeIPv4, local: SetLocalIPv4,
		never: SetNeverIPv4, gateways: SetGatewayIPv4,
		neverNetworks:   []string{"0.0.0.0/8", loopback},
		loopback:        "127.0.0.1",
		notLocalhost:    []nft.Match{{Field: nft.FieldDestinationAddress, Not: true, Value: loopback}},
		upstream:        nft.Match{Field: nft.FieldSourceAddress, Value: loopback},
		answersLoopback: true,
		probes:          "169.254.7.127",
	},
	{
		name: ruleio.FamilyIPv6, title: "IPv6", addresses: nft.TypeIPv6Address,
		is: ipv6, source: nft.FieldSourceIPv6, destination: nft.FieldDestinationIPv6,
		excluded: SetOutboundExcludeIPv6, included: SetOutboundIncludeIPv6, local: SetLocalIPv6,
		never: SetNeverIPv6, gateways: SetGatewayIPv6,
		neverNetworks: []string{"::/96", "::ffff:0.0.0.0/96"},
		linkLocal:     []string{"fe80::/10"},
		loopback:      "::1",
		upstream:      nft.Match{Field: nft.FieldSourceIPv6, Value: UpstreamIPv6},
		probes:        "fd16:9254:7127:1337:ffff:ffff:ffff:ffff",
		defects:       []Defect{DefectIPv6},
	},
}

// UpstreamIPv6 is the source address of the proxy's connections to the guest
// over IPv6 (Istio, pilot/pkg/networking/core, InboundPassthroughBindIpv6).
// Linux does not accept packets for ::1 from a link (RFC 4291, 2.5.3), so the
// guest cannot reach the proxy's loopback listeners or answer to ::1.
const UpstreamIPv6 = "::6"

// stackOf returns the stack of a family that Check has accepted.
func stackOf(f ruleio.Family) stack {
	return stacks[slices.IndexFunc(stacks, func(s stack) bool { return s.name == f.Name })]
}

// in returns the networks of the family in nft's notation, without a prefix
// length for single addresses.
func (s stack) in(cidrs []string) []string {
	var out []string
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		switch {
		case err != nil || !nft.IsAddressOf(s.addresses, p.Addr()):
		case p.IsSingleIP():
			out = append(out, p.Addr().String())
		default:
			out = append(out, c)
		}
	}
	return out
}

// matches adds the match of the family if no other match implies it.
func (s stack) matches(in nft.Match, others ...nft.Match) []nft.Match {
	for _, m := range others {
		if need, _ := m.Field.Implied(); need == s.is {
			return append([]nft.Match{in}, others...)
		}
	}
	return append([]nft.Match{in, s.is}, others...)
}

// keep returns the null binding of the family.
func (s stack) keep() nft.Statement { return nft.Statement{Kind: nft.StatementKeep, Family: s.name} }
