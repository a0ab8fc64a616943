// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// Names of the sets. A set is omitted if its list in the plan is empty or no
// rule uses it. Rules that use an empty set are omitted.
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
	SetNeverIPv4           = "guest_never_ipv4"
	SetNeverIPv6           = "guest_never_ipv6"
	SetGatewayIPv4         = "gateway_ipv4"
	SetGatewayIPv6         = "gateway_ipv6"
	SetGuestLocalTCP       = "guest_local_tcp"
	SetGuestLocalUDP       = "guest_local_udp"
)

// Priorities of the base chains, just before the priority -100 of KubeVirt and
// Istio and never equal to it. The order of chains with equal priority would
// depend on which program registered its chain last.
const (
	priorityDestinationNAT = -110
	prioritySourceNAT      = 90
	// priorityFilter is before the priority 0 of other filter chains.
	priorityFilter = -10
)

// portDNS is the port of DNS, which UnmeshedDrop does not drop.
const portDNS = 53

// loopback is the network that never leaves a host (RFC 1122, 3.2.1.3 g). The
// bridge has route_localnet, so a guest can send packets to this network. No
// exclusion may give the guest access to the proxy's loopback listeners.
const loopback = "127.0.0.0/8"

// Build returns the table of a plan. Equal plans result in equal tables. It
// returns the errors of Check.
func Build(p ruleio.NATPlan) (Table, error) {
	if err := Check(p); err != nil {
		return Table{}, err
	}
	b := builder{plan: p, sets: map[string]nft.Set{}, known: map[string]bool{}, used: map[string]bool{}}
	b.addSets()
	b.table = Table{
		Table:    nft.Table{Family: nft.FamilyInet, Name: TableName},
		Purposes: map[string][]Purpose{},
	}
	b.natChain(nft.HookPrerouting, priorityDestinationNAT, b.each(b.dnsFromGuest, b.fromGuest, b.fromKubelet, b.fromOutside))
	b.natChain(nft.HookOutput, priorityDestinationNAT, slices.Concat(b.gate(), b.each(b.fromPod)))
	b.natChain(nft.HookPostrouting, prioritySourceNAT, b.each(b.toGuest))
	b.filterChain(string(nft.HookForward), nft.HookForward, priorityFilter, b.forwarded())
	if zones := b.each(b.dnsZones); len(zones) > 0 {
		b.filterChain(chainRaw, nft.HookPrerouting, priorityRaw, zones)
	}
	b.markChains()
	b.filterChain(chainLocalPrerouting, nft.HookPrerouting, priorityLocal, b.each(b.addressedLocally))
	b.filterChain(chainLocalInput, nft.HookInput, priorityFilter, b.deliveredLocally())
	for _, name := range b.order {
		if b.used[name] {
			b.table.Sets = append(b.table.Sets, b.sets[name])
		}
	}
	return b.table, errors.Join(b.errs...)
}

func (b *builder) natChain(h nft.Hook, priority int32, rules []Rule) {
	b.addChain(nft.Chain{Name: string(h), Type: "nat", Hook: h, Priority: priority, Policy: "accept"}, rules)
}

func (b *builder) filterChain(name string, h nft.Hook, priority int32, rules []Rule) {
	b.addChain(nft.Chain{Name: name, Type: "filter", Hook: h, Priority: priority, Policy: "accept"}, rules)
}

// addChain adds a chain with the rules and adds a counter to each.
func (b *builder) addChain(c nft.Chain, rules []Rule) {
	for _, r := range rules {
		c.Rules = append(c.Rules, nft.Rule{Matches: r.Matches, Counter: true, Statement: r.Statement, Comment: r.Comment})
		b.table.Purposes[c.Name] = append(b.table.Purposes[c.Name], Purpose{Defects: r.Defects, Total: r.Total})
	}
	b.table.Chains = append(b.table.Chains, c)
}

// builder builds the sets of one table.
type builder struct {
	plan  ruleio.NATPlan
	table Table
	// sets are the sets with elements. order contains their names in order.
	sets  map[string]nft.Set
	order []string
	// known contains the names of all sets, with or without elements.
	known map[string]bool
	// used contains the names of the sets that rules look up.
	used map[string]bool
	errs []error
}

// each returns the rules of all families of the plan that the functions return,
// in order.
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
	b.add(SetOutboundExcludeIPv4, nft.TypeIPv4Address, stacks[0].in(p.Outbound.ExcludeCIDRs))
	b.add(SetOutboundExcludeTCP, nft.TypePort, rangeTexts(p.Outbound.ExcludePorts))
	b.add(SetOutboundIncludeIPv4, nft.TypeIPv4Address, stacks[0].in(p.Outbound.IncludeCIDRs))
	b.add(SetOutboundUDP, nft.TypePort, rangeTexts(ruleio.Union(p.Outbound.ExcludeUDP, ruleio.Ports(portDNS))))
	b.add(SetProxyTCP, nft.TypePort, portTexts(p.Proxy.LocalPorts))
	b.add(SetInboundDirectTCP, nft.TypePort, rangeTexts(p.Inbound.DirectTCP))
	b.add(SetInboundDirectUDP, nft.TypePort, rangeTexts(p.Inbound.DirectUDP))
	b.add(SetInboundMeshTCP, nft.TypePort, portTexts(p.Inbound.Mesh))
	b.add(SetExposedTCP, nft.TypePort, rangeTexts(ruleio.Union(ruleio.Ports(p.Inbound.Mesh...), p.Inbound.DirectTCP)))
	for _, f := range p.Families {
		s := stackOf(f)
		b.add(s.local, s.addresses, sortedAddresses(s.loopback, f.Pod))
	}
	b.add(SetOutboundExcludeIPv6, nft.TypeIPv6Address, stacks[1].in(p.Outbound.ExcludeCIDRs))
	b.add(SetOutboundIncludeIPv6, nft.TypeIPv6Address, stacks[1].in(p.Outbound.IncludeCIDRs))
	b.addLocalSets()
	if g := p.Gate; g != nil {
		b.add(SetGate, nft.TypePort, portTexts([]uint16{g.Port}))
	}
}

func (b *builder) add(name string, t nft.DataType, elements []string) {
	b.known[name] = true
	if len(elements) == 0 {
		return
	}
	b.sets[name] = nft.Set{Name: name, Type: t, Flags: []string{nft.FlagInterval}, Elements: elements}
	b.order = append(b.order, name)
}

// errUnknownSet indicates a rule that uses a set that addSets does not define.
// This is a bug in this package. Without the error the rule would be omitted
// silently.
var errUnknownSet = errors.New("the rule looks up a set that does not exist")

// keep omits the rules that look up a set without elements.
func (b *builder) keep(rules ...Rule) []Rule {
	var out []Rule
	for _, r := range rules {
		if !b.hasSets(r) {
			continue
		}
		for _, m := range r.Matches {
			b.used[m.Set] = true
		}
		out = append(out, r)
	}
	return out
}

// hasSets reports whether all sets that the rule looks up have elements.
func (b *builder) hasSets(r Rule) bool {
	has := true
	for _, m := range r.Matches {
		if m.Set == "" {
			continue
		}
		if !b.known[m.Set] {
			b.errs = append(b.errs, fmt.Errorf("%w: set %q, rule %q", errUnknownSet, m.Set, r.Comment))
		}
		_, ok := b.sets[m.Set]
		has = has && ok
	}
	return has
}

// fromGuest returns the rules for connections that the guest opens.
func (b *builder) fromGuest(s stack, _ ruleio.Family) []Rule {
	in := nft.Match{Field: nft.FieldInputInterface, Value: b.plan.Bridge}
	direct := func(comment string, matches ...nft.Match) Rule {
		return Rule{
			Matches:   s.matches(in, slices.Concat(s.notLocalhost, matches)...),
			Statement: s.keep(),
			Total:     TotalDirect,
			Comment:   "N1: guest's connections to " + comment + " bypass the proxy",
			Defects:   []Defect{DefectOutboundExclusions},
		}
	}
	rules := []Rule{
		direct("excluded networks", lookup(s.destination, s.excluded), tcp),
		direct("excluded ports", lookup(nft.FieldTCPDestinationPort, SetOutboundExcludeTCP)),
	}
	switch {
	case len(s.in(b.plan.Outbound.IncludeCIDRs)) > 0:
		rules = append(rules, direct("networks that are not included", nft.Match{Field: s.destination, Not: true, Set: s.included}, tcp))
	case len(b.plan.Outbound.IncludeCIDRs) > 0:
		rules = append(rules, direct(s.title+" networks, of which none is included,", tcp))
	}
	return b.keep(append(rules, Rule{
		Matches:   s.matches(in, tcp),
		Statement: nft.Statement{Kind: nft.StatementRedirect, Port: b.plan.Proxy.OutboundPort},
		Total:     TotalCaptured,
		Comment:   "redirect the guest's other TCP connections to the proxy",
	})...)
}

// fromOutside returns the rules for connections that arrive at the pod's
// interface.
func (b *builder) fromOutside(s stack, f ruleio.Family) []Rule {
	in := nft.Match{Field: nft.FieldInputInterface, Value: b.plan.PodInterface}
	guest := nft.Statement{Kind: nft.StatementDNAT, Address: f.Guest}
	return b.keep(
		Rule{
			Matches:   s.matches(in, lookup(nft.FieldTCPDestinationPort, SetProxyTCP)),
			Statement: s.keep(),
			Comment:   "N5: keep the proxy's own ports local",
			Defects:   []Defect{DefectInjection},
		},
		Rule{
			Matches:   s.matches(in, lookup(nft.FieldTCPDestinationPort, SetInboundDirectTCP)),
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N2: direct TCP ports bypass the proxy",
			Defects:   []Defect{DefectInboundExclusions},
		},
		Rule{
			Matches:   s.matches(in, lookup(nft.FieldUDPDestinationPort, SetInboundDirectUDP)),
			Statement: guest,
			Total:     TotalDirect,
			Comment:   "N3: forward UDP ports to the guest",
			Defects:   []Defect{DefectInboundUDP},
		},
		Rule{
			Matches:   s.matches(in, lookup(nft.FieldTCPDestinationPort, SetInboundMeshTCP)),
			Statement: nft.Statement{Kind: nft.StatementRedirect, Port: b.plan.Proxy.InboundPort},
			Total:     b.redirectedTotal(),
			Comment:   "N5: redirect mesh ports to the proxy",
			Defects:   []Defect{DefectInjection},
		},
	)
}

// fromPod returns the rules for connections from processes in the pod to the
// pod: upstream connections of the proxy, probes, and connections of the
// proxy's agent.
func (b *builder) fromPod(s stack, f ruleio.Family) []Rule {
	local := lookup(s.destination, s.local)
	exposed := local
	if !s.answersLoopback {
		exposed = nft.Match{Field: s.destination, Value: f.Pod}
	}
	defects := append([]Defect{DefectInboundExclusions, DefectInjection}, s.defects...)
	return b.keep(
		Rule{
			Matches:   []nft.Match{exposed, lookup(nft.FieldTCPDestinationPort, SetExposedTCP)},
			Statement: nft.Statement{Kind: nft.StatementDNAT, Address: f.Guest},
			Comment:   named(defects, "forward local connections to exposed ports, such as the proxy's, to the guest"),
			Defects:   defects,
		},
		Rule{
			Matches:   []nft.Match{local, tcp},
			Statement: s.keep(),
			Comment:   "N5, closed: keep all other local connections local, such as those to the proxy's own ports",
			Defects:   []Defect{DefectInjection, DefectClosedPorts},
		},
	)
}

// toGuest returns the rule for packets that leave towards the guest.
func (b *builder) toGuest(s stack, f ruleio.Family) []Rule {
	if b.ambient() && !s.answersLoopback {
		return nil // Inbound, ztunnel uses the client's address.
	}
	defects := append([]Defect{DefectInboundExclusions, DefectInjection}, s.defects...)
	return b.keep(Rule{
		Matches:   []nft.Match{{Field: nft.FieldOutputInterface, Value: b.plan.Bridge}, s.upstream},
		Statement: nft.Statement{Kind: nft.StatementSNAT, Address: f.Gateway},
		Comment:   named(defects, "translate loopback sources to the gateway, so that the guest can reply"),
		Defects:   defects,
	})
}

// named returns a comment that starts with the defects.
func named(defects []Defect, words string) string {
	names := make([]string, len(defects))
	for i, r := range defects {
		names[i] = string(r)
	}
	return strings.Join(names, ", ") + ": " + words
}

var (
	ipv4 = nft.Match{Field: nft.FieldNFProtocol, Value: "ipv4"}
	ipv6 = nft.Match{Field: nft.FieldNFProtocol, Value: "ipv6"}
	tcp  = nft.Match{Field: nft.FieldTransportProtocol, Value: "tcp"}
)

func lookup(f nft.Field, set string) nft.Match { return nft.Match{Field: f, Set: set} }

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

func sortedPorts(ports []uint16) []string {
	slices.Sort(ports)
	return portTexts(slices.Compact(ports))
}

func sortedAddresses(texts ...string) []string {
	slices.SortFunc(texts, func(a, b string) int {
		return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b))
	})
	return texts
}
