package nftrules

import "meshvm.io/meshvm/internal/ruleio"

// forwarded are the filter rules for packets between the guest and the outside
// that no proxy took. They look at the first packet of a connection only, so
// that a connection that was let in stays.
func (b *builder) forwarded() []Rule {
	rules := b.closed()
	if b.plan.Unmeshed == ruleio.UnmeshedDrop {
		rules = append(rules, b.unmeshed()...)
	}
	for i := range rules {
		if rules[i].Statement.Kind == StatementDrop {
			rules[i].Total = TotalDropped
		}
	}
	return rules
}

var (
	isNew  = Match{Field: FieldConntrackState, Value: "new"}
	udp    = Match{Field: FieldTransportProtocol, Value: "udp"}
	notTCP = Match{Field: FieldTransportProtocol, Not: true, Value: "tcp"}
	notUDP = Match{Field: FieldTransportProtocol, Not: true, Value: "udp"}
	drop   = Statement{Kind: StatementDrop}
)

func (b *builder) inwards() []Match {
	return []Match{
		{Field: FieldInputInterface, Value: b.plan.PodInterface},
		{Field: FieldOutputInterface, Value: b.plan.Bridge},
		isNew,
	}
}

func (b *builder) outwards() []Match {
	return []Match{{Field: FieldInputInterface, Value: b.plan.Bridge}, isNew}
}

// closed drops what others' rules send to ports of the guest that nobody
// listed.
func (b *builder) closed() []Rule {
	other := func(f Field, set string, protocol Match) Match {
		if _, ok := b.sets[set]; ok {
			return Match{Field: f, Not: true, Set: set}
		}
		return protocol
	}
	return b.keep(
		Rule{
			Matches:   append(b.inwards(), other(FieldTCPDestinationPort, SetInboundDirectTCP, tcp)),
			Statement: drop,
			Comment:   "closed: no TCP port but the direct ones is open past the proxy",
			Repairs:   []Repair{RepairClosedPorts},
		},
		Rule{
			Matches:   append(b.inwards(), other(FieldUDPDestinationPort, SetInboundDirectUDP, udp)),
			Statement: drop,
			Comment:   "closed: no UDP port but the listed ones is open",
			Repairs:   []Repair{RepairClosedPorts},
		},
	)
}

// unmeshed drops what no proxy carries, in both directions. DHCP is between the
// guest and the bridge, so it is never forwarded.
func (b *builder) unmeshed() []Rule {
	rules := b.keep(
		Rule{
			Matches:   append(b.inwards(), notTCP, notUDP),
			Statement: drop,
			Comment:   "unmeshed: what is neither TCP nor UDP does not reach the guest",
		},
		Rule{
			Matches:   append(b.outwards(), lookup(FieldDestinationAddress, SetOutboundExcludeIPv4)),
			Statement: Statement{Kind: StatementAccept},
			Comment:   "unmeshed: excluded networks are open",
		},
		Rule{
			Matches:   append(b.outwards(), Match{Field: FieldUDPDestinationPort, Not: true, Set: SetOutboundUDP}),
			Statement: drop,
			Comment:   "unmeshed: guest's UDP goes nowhere but to DNS and excluded ports",
		},
		Rule{
			Matches:   append(b.outwards(), notTCP, notUDP),
			Statement: drop,
			Comment:   "unmeshed: guest's other protocols go nowhere",
		},
	)
	ipv6 := Match{Field: FieldNFProtocol, Value: "ipv6"}
	return append(rules, b.keep(
		Rule{
			Matches:   append(b.inwards(), ipv6),
			Statement: drop,
			Comment:   "unmeshed: IPv6, which the mesh of this pod has not, does not reach the guest",
		},
		Rule{
			Matches:   append(b.outwards(), ipv6),
			Statement: drop,
			Comment:   "unmeshed: guest's IPv6, which the mesh of this pod has not, goes nowhere",
		},
	)...)
}
