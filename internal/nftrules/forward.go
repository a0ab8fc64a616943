// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// forwarded returns the filter rules for packets that are forwarded between the
// guest and other hosts without the proxy. They match only the first packet of
// a connection, so established connections are not affected.
func (b *builder) forwarded() []Rule {
	rules := append(b.each(b.probesForwarded), b.untracked())
	rules = append(rules, b.closed()...)
	if b.plan.Unmeshed == ruleio.UnmeshedDrop {
		rules = append(rules, b.unmeshed()...)
	}
	for i := range rules {
		if rules[i].Statement.Kind == nft.StatementDrop {
			rules[i].Total = TotalDropped
		}
	}
	return rules
}

var (
	isNew  = nft.Match{Field: nft.FieldConntrackState, Value: "new"}
	udp    = nft.Match{Field: nft.FieldTransportProtocol, Value: "udp"}
	notTCP = nft.Match{Field: nft.FieldTransportProtocol, Not: true, Value: "tcp"}
	notUDP = nft.Match{Field: nft.FieldTransportProtocol, Not: true, Value: "udp"}
	drop   = nft.Statement{Kind: nft.StatementDrop}
)

func (b *builder) inwards() []nft.Match {
	return []nft.Match{
		{Field: nft.FieldInputInterface, Value: b.plan.PodInterface},
		{Field: nft.FieldOutputInterface, Value: b.plan.Bridge},
		isNew,
	}
}

func (b *builder) outwards() []nft.Match {
	return []nft.Match{{Field: nft.FieldInputInterface, Value: b.plan.Bridge}, isNew}
}

// untracked drops the guest's packets that connection tracking assigns to no
// connection, for example a TCP segment with contradicting flags. No rule translates
// them: they would bypass the proxy, with the guest's address as their source.
func (b *builder) untracked() Rule {
	return Rule{
		Matches:   []nft.Match{{Field: nft.FieldInputInterface, Value: b.plan.Bridge}, {Field: nft.FieldConntrackState, Value: "invalid"}},
		Statement: drop,
		Comment:   "closed: drop packets from guest that belong to no connection",
		Defects:   []Defect{DefectClosedPorts},
	}
}

// closed drops packets that rules of other programs forward to unlisted ports
// of the guest.
func (b *builder) closed() []Rule {
	other := func(f nft.Field, set string, protocol nft.Match) nft.Match {
		if _, ok := b.sets[set]; ok {
			return nft.Match{Field: f, Not: true, Set: set}
		}
		return protocol
	}
	return b.keep(
		Rule{
			Matches:   append(b.inwards(), other(nft.FieldTCPDestinationPort, SetInboundDirectTCP, tcp)),
			Statement: drop,
			Comment:   "closed: drop TCP to guest ports that are not direct",
			Defects:   []Defect{DefectClosedPorts},
		},
		Rule{
			Matches:   append(b.inwards(), other(nft.FieldUDPDestinationPort, SetInboundDirectUDP, udp)),
			Statement: drop,
			Comment:   "closed: drop UDP to guest ports that are not listed",
			Defects:   []Defect{DefectClosedPorts},
		},
	)
}

// unmeshed drops traffic that the proxy does not carry in both directions. DHCP
// and IPv6 neighbor discovery take place between guest and bridge and are not
// forwarded. ICMP errors for established flows, such as "packet too big", do
// not have the conntrack state "new".
func (b *builder) unmeshed() []Rule {
	rules := []Rule{{
		Matches:   append(b.inwards(), notTCP, notUDP),
		Statement: drop,
		Comment:   "unmeshed: drop protocols other than TCP and UDP to guest",
	}}
	for _, s := range stacks {
		rules = append(rules, Rule{
			Matches:   append(b.outwards(), lookup(s.destination, s.excluded)),
			Statement: nft.Statement{Kind: nft.StatementAccept},
			Comment:   "unmeshed: accept traffic to excluded networks",
		})
	}
	rules = append(
		append(rules, b.unmeshedDNS()...),
		Rule{
			Matches:   append(b.outwards(), nft.Match{Field: nft.FieldUDPDestinationPort, Not: true, Set: SetOutboundUDP}),
			Statement: drop,
			Comment:   "unmeshed: drop UDP from guest, except DNS and excluded ports",
		},
		Rule{
			Matches:   append(b.outwards(), notTCP, notUDP),
			Statement: drop,
			Comment:   "unmeshed: drop protocols other than TCP and UDP from guest",
		},
	)
	for _, s := range stacks {
		if !b.meshed(s) {
			rules = append(rules, Rule{
				Matches:   append(b.inwards(), s.is),
				Statement: drop,
				Comment:   "unmeshed: drop " + s.title + " to guest: not carried by this pod's proxy",
			}, Rule{
				Matches:   append(b.outwards(), s.is),
				Statement: drop,
				Comment:   "unmeshed: drop " + s.title + " from guest: not carried by this pod's proxy",
			})
		}
	}
	return b.keep(rules...)
}

// meshed reports whether the proxy carries the family.
func (b *builder) meshed(s stack) bool {
	return slices.ContainsFunc(b.plan.Families, func(f ruleio.Family) bool { return f.Name == s.name })
}
