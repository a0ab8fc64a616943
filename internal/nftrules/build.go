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
			natChain(HookPrerouting, priorityDestinationNAT, slices.Concat(b.dnsFromGuest(), b.fromGuest(), b.fromOutside())),
			natChain(HookOutput, priorityDestinationNAT, b.fromPod()),
			natChain(HookPostrouting, prioritySourceNAT, b.toGuest()),
			{Name: string(HookForward), Type: "filter", Hook: HookForward, Priority: priorityFilter, Policy: "accept", Rules: b.forwarded()},
		},
	}
	if zones := b.dnsZones(); len(zones) > 0 {
		t.Chains = append(t.Chains, Chain{
			Name: chainRaw, Type: "filter", Hook: HookPrerouting, Priority: priorityRaw, Policy: "accept", Rules: zones,
		})
	}
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

func (b *builder) addSets() {
	p := b.plan
	b.add(SetOutboundExcludeIPv4, TypeIPv4Address, elementTexts(p.Outbound.ExcludeCIDRs))
	b.add(SetOutboundExcludeTCP, TypePort, rangeTexts(p.Outbound.ExcludePorts))
	b.add(SetOutboundIncludeIPv4, TypeIPv4Address, elementTexts(p.Outbound.IncludeCIDRs))
	b.add(SetOutboundUDP, TypePort, rangeTexts(ruleio.Union(p.Outbound.ExcludeUDP, ruleio.Ports(portDNS))))
	b.add(SetProxyTCP, TypePort, portTexts(p.Proxy.LocalPorts))
	b.add(SetInboundDirectTCP, TypePort, rangeTexts(p.Inbound.DirectTCP))
	b.add(SetInboundDirectUDP, TypePort, rangeTexts(p.Inbound.DirectUDP))
	b.add(SetInboundMeshTCP, TypePort, portTexts(p.Inbound.Mesh))
	b.add(SetExposedTCP, TypePort, rangeTexts(ruleio.Union(ruleio.Ports(p.Inbound.Mesh...), p.Inbound.DirectTCP)))
	b.add(SetLocalIPv4, TypeIPv4Address, sortedAddresses("127.0.0.1", b.family().Pod))
}

func (b *builder) add(name string, t DataType, elements []string) {
	if len(elements) == 0 {
		return
	}
	b.sets[name] = Set{Name: name, Type: t, Flags: []string{flagInterval}, Elements: elements}
	b.order = append(b.order, name)
}

// family is the IPv4 family, which Check has seen to be there.
func (b *builder) family() ruleio.Family { return b.plan.Families[0] }

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
func (b *builder) fromGuest() []Rule {
	in := Match{Field: FieldInputInterface, Value: b.plan.Bridge}
	notLoopback := Match{Field: FieldDestinationAddress, Not: true, Value: loopback}
	return b.keep(
		Rule{
			Matches:   []Match{in, notLoopback, lookup(FieldDestinationAddress, SetOutboundExcludeIPv4), tcp},
			Statement: Statement{Kind: StatementKeep},
			Total:     TotalDirect,
			Comment:   "N1: guest's connections to excluded networks go past the proxy",
			Repairs:   []Repair{RepairOutboundExclusions},
		},
		Rule{
			Matches:   []Match{in, notLoopback, lookup(FieldTCPDestinationPort, SetOutboundExcludeTCP)},
			Statement: Statement{Kind: StatementKeep},
			Total:     TotalDirect,
			Comment:   "N1: guest's connections to excluded ports go past the proxy",
			Repairs:   []Repair{RepairOutboundExclusions},
		},
		Rule{
			Matches:   []Match{in, notLoopback, {Field: FieldDestinationAddress, Not: true, Set: SetOutboundIncludeIPv4}, tcp},
			Statement: Statement{Kind: StatementKeep},
			Total:     TotalDirect,
			Comment:   "N1: guest's connections to networks that are not included go past the proxy",
			Repairs:   []Repair{RepairOutboundExclusions},
		},
		Rule{
			Matches:   []Match{in, ipv4, tcp},
			Statement: Statement{Kind: StatementRedirect, Port: b.plan.Proxy.OutboundPort},
			Total:     TotalCaptured,
			Comment:   "guest's other TCP connections go through the proxy",
		},
	)
}

// fromOutside are the rules for connections that reach the pod's interface.
func (b *builder) fromOutside() []Rule {
	in := Match{Field: FieldInputInterface, Value: b.plan.PodInterface}
	guest := Statement{Kind: StatementDNAT, Address: b.family().Guest}
	return b.keep(
		Rule{
			Matches:   []Match{in, ipv4, lookup(FieldTCPDestinationPort, SetProxyTCP)},
			Statement: Statement{Kind: StatementKeep},
			Comment:   "N5: the proxy's own ports stay with the proxy",
			Repairs:   []Repair{RepairInjection},
		},
		Rule{
			Matches:   []Match{in, ipv4, lookup(FieldTCPDestinationPort, SetInboundDirectTCP)},
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N2: direct TCP ports go to the guest past the proxy",
			Repairs:   []Repair{RepairInboundExclusions},
		},
		Rule{
			Matches:   []Match{in, ipv4, lookup(FieldUDPDestinationPort, SetInboundDirectUDP)},
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N3: UDP ports go to the guest",
			Repairs:   []Repair{RepairInboundUDP},
		},
		Rule{
			Matches:   []Match{in, ipv4, lookup(FieldTCPDestinationPort, SetInboundMeshTCP)},
			Statement: Statement{Kind: StatementRedirect, Port: b.plan.Proxy.InboundPort},
			Total:     TotalCaptured,
			Comment:   "N5: mesh ports go through the proxy",
			Repairs:   []Repair{RepairInjection},
		},
	)
}

// fromPod are the rules for connections that processes in the pod open to the
// pod itself: the proxy's upstream leg, probes, the proxy's agent.
func (b *builder) fromPod() []Rule {
	to := lookup(FieldDestinationAddress, SetLocalIPv4)
	return b.keep(
		Rule{
			Matches:   []Match{to, lookup(FieldTCPDestinationPort, SetExposedTCP)},
			Statement: Statement{Kind: StatementDNAT, Address: b.family().Guest},
			Comment:   "N2, N5: connections in the pod to exposed ports, as the proxy's upstream leg, go to the guest",
			Repairs:   []Repair{RepairInboundExclusions, RepairInjection},
		},
		Rule{
			Matches:   []Match{to, tcp},
			Statement: Statement{Kind: StatementKeep},
			Comment:   "N5, closed: all other connections in the pod to the pod stay in it, as to the proxy's own ports",
			Repairs:   []Repair{RepairInjection, RepairClosedPorts},
		},
	)
}

// toGuest is the rule for packets that leave towards the guest.
func (b *builder) toGuest() []Rule {
	return b.keep(Rule{
		Matches: []Match{
			{Field: FieldOutputInterface, Value: b.plan.Bridge},
			{Field: FieldSourceAddress, Value: loopback},
		},
		Statement: Statement{Kind: StatementSNAT, Address: b.family().Gateway},
		Comment:   "N2, N5: what comes from loopback comes from the gateway, so that the guest can answer",
		Repairs:   []Repair{RepairInboundExclusions, RepairInjection},
	})
}

var (
	ipv4 = Match{Field: FieldNFProtocol, Value: "ipv4"}
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

// elementTexts spells networks as nft lists them: a single address has no
// prefix length.
func elementTexts(cidrs []string) []string {
	out := make([]string, len(cidrs))
	for i, c := range cidrs {
		out[i] = strings.TrimSuffix(c, "/32")
	}
	return out
}

func sortedAddresses(texts ...string) []string {
	slices.SortFunc(texts, func(a, b string) int {
		return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b))
	})
	return texts
}
