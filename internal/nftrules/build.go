// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"meshvm.io/meshvm/internal/ruleio"
)

// Names of the sets. A set whose list in the plan is empty is not there, nor is
// any rule that would use it, nor a set that no rule uses.
const (
	SetOutboundExcludeIPv4 = "outbound_exclude_ipv4"
	SetOutboundExcludeTCP  = "outbound_exclude_tcp"
	SetProxyTCP            = "proxy_tcp"
	SetInboundDirectTCP    = "inbound_direct_tcp"
	SetInboundDirectUDP    = "inbound_direct_udp"
	SetInboundMeshTCP      = "inbound_mesh_tcp"
	SetExposedTCP          = "exposed_tcp"
	SetLocalIPv4           = "local_ipv4"
	SetOutboundIncludeIPv4 = "outbound_include_ipv4"
	SetOutboundUDP         = "outbound_udp"
	SetOutboundExcludeIPv6 = "outbound_exclude_ipv6"
	SetOutboundIncludeIPv6 = "outbound_include_ipv6"
	SetLocalIPv6           = "local_ipv6"
	SetGate                = "gate"
)

// Priorities of the base chains: just before the -100 of KubeVirt and Istio,
// and never equal to it. Among chains of equal priority the one registered last
// runs first, so that the order would depend on who wrote last.
const (
	priorityDestinationNAT = -110
	prioritySourceNAT      = 90
	// priorityFilter is before the 0 of everyone else's filters.
	priorityFilter = -10
)

// portDNS is the port of DNS, which UnmeshedDrop spares.
const portDNS = 53

// loopback is the network that never leaves a host (RFC 1122, 3.2.1.3 g). The
// bridge has route_localnet, so that a guest can send packets there: no
// exclusion may open the proxy's loopback listeners to it.
const loopback = "127.0.0.0/8"

// Build makes the table of a plan. Equal plans give equal tables. It fails with
// the errors of Check.
func Build(p ruleio.Plan) (Table, error) {
	if err := Check(p); err != nil {
		return Table{}, err
	}
	b := builder{plan: p, sets: map[string]Set{}, used: map[string]bool{}}
	b.addSets()
	t := Table{
		Family: FamilyInet,
		Name:   TableName,
		Chains: []Chain{
			natChain(HookPrerouting, priorityDestinationNAT, b.each(b.dnsFromGuest, b.fromGuest, b.fromKubelet, b.fromOutside)),
			natChain(HookOutput, priorityDestinationNAT, slices.Concat(b.gate(), b.each(b.fromPod))),
			natChain(HookPostrouting, prioritySourceNAT, b.each(b.toGuest)),
			{Name: string(HookForward), Type: "filter", Hook: HookForward, Priority: priorityFilter, Policy: "accept", Rules: b.forwarded()},
		},
	}
	if zones := b.each(b.dnsZones); len(zones) > 0 {
		t.Chains = append(t.Chains, Chain{
			Name: chainRaw, Type: "filter", Hook: HookPrerouting, Priority: priorityRaw, Policy: "accept", Rules: zones,
		})
	}
	t.Chains = append(t.Chains, b.markChains()...)
	for _, name := range b.order {
		if b.used[name] {
			t.Sets = append(t.Sets, b.sets[name])
		}
	}
	return t, nil
}

func natChain(h Hook, priority int32, rules []Rule) Chain {
	return Chain{Name: string(h), Type: "nat", Hook: h, Priority: priority, Policy: "accept", Rules: rules}
}

// builder collects the sets of one table.
type builder struct {
	plan  ruleio.Plan
	sets  map[string]Set
	order []string
	// used has the sets that a rule looks up.
	used map[string]bool
}

// each are the rules of the plan's families, made by the functions in order.
func (b *builder) each(rules ...func(stack, ruleio.Family) []Rule) []Rule {
	var out []Rule
	for _, f := range b.plan.Families {
		for _, r := range rules {
			out = append(out, r(stackOf(f), f)...)
		}
	}
	return out
}

func (b *builder) addSets() {
	p := b.plan
	b.add(SetOutboundExcludeIPv4, TypeIPv4Address, stacks[0].in(p.Outbound.ExcludeCIDRs))
	b.add(SetOutboundExcludeTCP, TypePort, rangeTexts(p.Outbound.ExcludePorts))
	b.add(SetOutboundIncludeIPv4, TypeIPv4Address, stacks[0].in(p.Outbound.IncludeCIDRs))
	b.add(SetOutboundUDP, TypePort, rangeTexts(ruleio.Union(p.Outbound.ExcludeUDP, ruleio.Ports(portDNS))))
	b.add(SetProxyTCP, TypePort, portTexts(p.Proxy.LocalPorts))
	b.add(SetInboundDirectTCP, TypePort, rangeTexts(p.Inbound.DirectTCP))
	b.add(SetInboundDirectUDP, TypePort, rangeTexts(p.Inbound.DirectUDP))
	b.add(SetInboundMeshTCP, TypePort, portTexts(p.Inbound.Mesh))
	b.add(SetExposedTCP, TypePort, rangeTexts(ruleio.Union(ruleio.Ports(p.Inbound.Mesh...), p.Inbound.DirectTCP)))
	for _, f := range p.Families {
		s := stackOf(f)
		b.add(s.local, s.addresses, sortedAddresses(s.loopback, f.Pod))
	}
	b.add(SetOutboundExcludeIPv6, TypeIPv6Address, stacks[1].in(p.Outbound.ExcludeCIDRs))
	b.add(SetOutboundIncludeIPv6, TypeIPv6Address, stacks[1].in(p.Outbound.IncludeCIDRs))
	if g := p.Gate; g != nil {
		b.add(SetGate, TypePort, portTexts([]uint16{g.Port}))
	}
}

func (b *builder) add(name string, t DataType, elements []string) {
	if len(elements) == 0 {
		return
	}
	b.sets[name] = Set{Name: name, Type: t, Flags: []string{flagInterval}, Elements: elements}
	b.order = append(b.order, name)
}

// keep drops the rules that look up a set that is not there, and lets all
// others count.
func (b *builder) keep(rules ...Rule) []Rule {
	var out []Rule
	for _, r := range rules {
		if slices.ContainsFunc(r.Matches, b.lacksSet) {
			continue
		}
		for _, m := range r.Matches {
			b.used[m.Set] = true
		}
		r.Counter = true
		out = append(out, r)
	}
	return out
}

func (b *builder) lacksSet(m Match) bool {
	_, ok := b.sets[m.Set]
	return m.Set != "" && !ok
}

// fromGuest are the rules for connections that the guest opens.
func (b *builder) fromGuest(s stack, _ ruleio.Family) []Rule {
	in := Match{Field: FieldInputInterface, Value: b.plan.Bridge}
	direct := func(comment string, matches ...Match) Rule {
		return Rule{
			Matches:   s.matches(in, slices.Concat(s.notLocalhost, matches)...),
			Statement: s.keep(),
			Total:     TotalDirect,
			Comment:   "N1: guest's connections to " + comment + " go past the proxy",
			Repairs:   []Repair{RepairOutboundExclusions},
		}
	}
	rules := []Rule{
		direct("excluded networks", lookup(s.destination, s.excluded), tcp),
		direct("excluded ports", lookup(FieldTCPDestinationPort, SetOutboundExcludeTCP)),
	}
	switch {
	case len(s.in(b.plan.Outbound.IncludeCIDRs)) > 0:
		rules = append(rules, direct("networks that are not included", Match{Field: s.destination, Not: true, Set: s.included}, tcp))
	case len(b.plan.Outbound.IncludeCIDRs) > 0:
		rules = append(rules, direct(s.title+" networks, of which none is included,", tcp))
	}
	return b.keep(append(rules, Rule{
		Matches:   s.matches(in, tcp),
		Statement: Statement{Kind: StatementRedirect, Port: b.plan.Proxy.OutboundPort},
		Total:     TotalCaptured,
		Comment:   "guest's other TCP connections go through the proxy",
	})...)
}

// fromOutside are the rules for connections that reach the pod's interface.
func (b *builder) fromOutside(s stack, f ruleio.Family) []Rule {
	in := Match{Field: FieldInputInterface, Value: b.plan.PodInterface}
	guest := Statement{Kind: StatementDNAT, Address: f.Guest}
	return b.keep(
		Rule{
			Matches:   s.matches(in, lookup(FieldTCPDestinationPort, SetProxyTCP)),
			Statement: s.keep(),
			Comment:   "N5: the proxy's own ports stay with the proxy",
			Repairs:   []Repair{RepairInjection},
		},
		Rule{
			Matches:   s.matches(in, lookup(FieldTCPDestinationPort, SetInboundDirectTCP)),
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N2: direct TCP ports go to the guest past the proxy",
			Repairs:   []Repair{RepairInboundExclusions},
		},
		Rule{
			Matches:   s.matches(in, lookup(FieldUDPDestinationPort, SetInboundDirectUDP)),
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N3: UDP ports go to the guest",
			Repairs:   []Repair{RepairInboundUDP},
		},
		Rule{
			Matches:   s.matches(in, lookup(FieldTCPDestinationPort, SetInboundMeshTCP)),
			Statement: Statement{Kind: StatementRedirect, Port: b.plan.Proxy.InboundPort},
			Total:     b.redirectedTotal(),
			Comment:   "N5: mesh ports go through the proxy",
			Repairs:   []Repair{RepairInjection},
		},
	)
}

// fromPod are the rules for connections that processes in the pod open to the
// pod itself: the proxy's upstream leg, probes, the proxy's agent.
func (b *builder) fromPod(s stack, f ruleio.Family) []Rule {
	local := lookup(s.destination, s.local)
	exposed := local
	if !s.answersLoopback {
		exposed = Match{Field: s.destination, Value: f.Pod}
	}
	repairs := append([]Repair{RepairInboundExclusions, RepairInjection}, s.repairs...)
	return b.keep(
		Rule{
			Matches:   []Match{exposed, lookup(FieldTCPDestinationPort, SetExposedTCP)},
			Statement: Statement{Kind: StatementDNAT, Address: f.Guest},
			Comment:   named(repairs, "connections in the pod to exposed ports, as the proxy's upstream leg, go to the guest"),
			Repairs:   repairs,
		},
		Rule{
			Matches:   []Match{local, tcp},
			Statement: s.keep(),
			Comment:   "N5, closed: all other connections in the pod to the pod stay in it, as to the proxy's own ports",
			Repairs:   []Repair{RepairInjection, RepairClosedPorts},
		},
	)
}

// toGuest is the rule for packets that leave towards the guest.
func (b *builder) toGuest(s stack, f ruleio.Family) []Rule {
	if b.ambient() && !s.answersLoopback {
		return nil // ztunnel has no address of its own on its way inwards.
	}
	repairs := append([]Repair{RepairInboundExclusions, RepairInjection}, s.repairs...)
	return b.keep(Rule{
		Matches:   []Match{{Field: FieldOutputInterface, Value: b.plan.Bridge}, s.upstream},
		Statement: Statement{Kind: StatementSNAT, Address: f.Gateway},
		Comment:   named(repairs, "what comes from loopback comes from the gateway, so that the guest can answer"),
		Repairs:   repairs,
	})
}

// named is a comment that begins with the repairs.
func named(repairs []Repair, words string) string {
	names := make([]string, len(repairs))
	for i, r := range repairs {
		names[i] = string(r)
	}
	return strings.Join(names, ", ") + ": " + words
}

var (
	ipv4 = Match{Field: FieldNFProtocol, Value: "ipv4"}
	ipv6 = Match{Field: FieldNFProtocol, Value: "ipv6"}
	tcp  = Match{Field: FieldTransportProtocol, Value: "tcp"}
)

func lookup(f Field, set string) Match { return Match{Field: f, Set: set} }

func rangeTexts(ranges []ruleio.PortRange) []string {
	out := make([]string, len(ranges))
	for i, r := range ranges {
		out[i] = r.String()
	}
	return out
}

func portTexts(ports []uint16) []string {
	out := make([]string, len(ports))
	for i, p := range ports {
		out[i] = strconv.Itoa(int(p))
	}
	return out
}

func sortedAddresses(texts ...string) []string {
	slices.SortFunc(texts, func(a, b string) int {
		return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b))
	})
	return texts
}
