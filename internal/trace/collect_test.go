// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// start is the start time of the scenes.
var start = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// Interfaces of the network namespace in the scenes.
const (
	linkLo     = 1
	linkPod    = 2
	linkBridge = 3
)

// Rules of the scenes. Handles are unique in all chains.
const (
	ruleFlow = iota + 1
	ruleProxy
	ruleMesh
	ruleDirect
	ruleExclude
	ruleCapture
	ruleUpstream
	ruleIstioReturn
	ruleIstioRedirect
	ruleDrop
	ruleReject
	ruleQueue
)

var (
	ownPrerouting   = ChainKey{familyInet, TableName, chainPrerouting}
	ownOutput       = ChainKey{familyInet, TableName, chainOutput}
	ourPrerouting   = ChainKey{familyInet, repairTable, "prerouting"}
	ourOutput       = ChainKey{familyInet, repairTable, "output"}
	istioPrerouting = ChainKey{familyIPv4, "nat", "PREROUTING"}
	istioInbound    = ChainKey{familyIPv4, "nat", "ISTIO_INBOUND"}
	foreignForward  = ChainKey{familyInet, "firewall", "forward"}
)

func sceneRules() Ruleset {
	r := Ruleset{Chains: map[ChainKey]ChainInfo{
		ownPrerouting:   {Hook: "prerouting", Type: "filter", Priority: -350},
		ownOutput:       {Hook: "output", Type: "filter", Priority: -350},
		ourPrerouting:   {Hook: "prerouting", Type: "nat", Priority: -110},
		ourOutput:       {Hook: "output", Type: "nat", Priority: -110},
		istioPrerouting: {Hook: "prerouting", Type: "nat", Priority: -100},
		istioInbound:    {},
		foreignForward:  {Hook: "forward", Type: "filter"},
	}, Rules: map[RuleKey]RuleInfo{}}
	maps.Copy(r.Rules, map[RuleKey]RuleInfo{
		{ourPrerouting, ruleMesh}:         {"tcp dport @inbound_mesh_tcp redirect to :15006", "N5: redirect mesh ports to the proxy"},
		{ourPrerouting, ruleDirect}:       {"tcp dport @inbound_direct_tcp dnat ip to 10.0.2.2", "N2: direct TCP ports bypass the proxy"},
		{ourPrerouting, ruleExclude}:      {"tcp dport @outbound_exclude_tcp dnat ip to ip daddr", "N1: excluded ports"},
		{ourPrerouting, ruleCapture}:      {"redirect to :15001", "guest's other TCP connections go through the proxy"},
		{ourOutput, ruleUpstream}:         {"dnat ip to 10.0.2.2", "N2, N5: upstream leg"},
		{istioInbound, ruleIstioReturn}:   {"tcp dport 9000 return", ""},
		{istioInbound, ruleIstioRedirect}: {"redirect to :15006", ""},
		{foreignForward, ruleDrop}:        {"tcp dport 22 drop", ""},
		{foreignForward, ruleReject}:      {"reject", "no"},
		{foreignForward, ruleQueue}:       {"[queue]", ""},
	})
	return r
}

// scene sends messages to a collector.
type scene struct {
	c  *Collector
	at time.Time
	// id is the kernel's trace ID of the current packet.
	id     uint32
	packet Packet
	input  uint32
}

func newScene(change func(*Request)) *scene {
	r := Request{MaxFlows: 2}
	change(&r)
	return &scene{at: start, c: NewCollector(r, Namespace{
		Links: map[uint32]Link{
			linkLo:     {"lo", []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			linkPod:    {"eth0", []netip.Prefix{netip.MustParsePrefix("10.244.0.8/24")}},
			linkBridge: {"k6t-eth0", []netip.Prefix{netip.MustParsePrefix("10.0.2.1/24")}},
		},
		Listens: Listeners{TCP: []netip.AddrPort{
			endpoint("0.0.0.0:15001"), endpoint("0.0.0.0:15006"), endpoint("0.0.0.0:15021"), endpoint("0.0.0.0:15008"),
		}}.Listens,
		Rules: sceneRules(),
		Roles: map[uint64]Role{ruleFlow: RoleFlow, ruleProxy: RoleProxy},
	})}
}

// enter starts a packet in the trace's table.
func (s *scene) enter(chain ChainKey, rule uint64, input uint32, protocol uint8, from, to string, id uint16) {
	s.at = s.at.Add(time.Millisecond)
	s.packet = Packet{Tuple: tuple(protocol, endpoint(from), endpoint(to)), ID: id, Sequence: 1000 + uint32(endpoint(from).Port()), Length: 60}
	s.input = input
	s.hop(chain, rule, verdictContinue)
}

// hop is a rule in a base chain with headers and a new ID. The kernel's IDs can
// differ between hooks.
func (s *scene) hop(chain ChainKey, rule uint64, verdict int32) {
	s.id++
	p := s.packet
	s.c.Trace(s.at, s.event(chain, rule, verdict, &p))
}

// within is another rule in the same base chain.
func (s *scene) within(chain ChainKey, rule uint64, verdict int32) {
	s.c.Trace(s.at, s.event(chain, rule, verdict, nil))
}

func (s *scene) event(chain ChainKey, rule uint64, verdict int32, p *Packet) Event {
	return Event{
		ID: s.id, Family: chain.Family, Table: chain.Table, Chain: chain.Chain,
		Handle: rule, Kind: EventRule, Verdict: verdict, Input: s.input, Packet: p,
	}
}

// translate changes the destination of the packet.
func (s *scene) translate(to string) { s.packet.Destination = endpoint(to) }

// conntrack sends the event of a connection with its reply direction.
func (s *scene) conntrack(protocol uint8, from, to, answeredBy string, status uint32) {
	s.c.Conntrack(s.at, connectionEvent(protocol, from, to, answeredBy, status))
}

func connectionEvent(protocol uint8, from, to, answeredBy string, status uint32) ConntrackEvent {
	return ConntrackEvent{
		Original: tuple(protocol, endpoint(from), endpoint(to)), Reply: tuple(protocol, endpoint(answeredBy), endpoint(from)), Status: status,
	}
}

func (s *scene) gone(protocol uint8, from, to, answeredBy string) {
	e := connectionEvent(protocol, from, to, answeredBy, 0)
	e.Kind = ConntrackGone
	s.c.Conntrack(s.at, e)
}

const (
	client = "10.244.0.1:40000"
	guest  = "10.0.2.2:50000"
)

// inbound redirects a client's connection to the proxy.
func (s *scene) inbound() {
	s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:8080", 1)
	s.hop(ourPrerouting, ruleMesh, verdictAccept)
	s.conntrack(numberTCP, client, "10.244.0.8:8080", "10.244.0.8:15006", statusSeenReply)
}

// outbound redirects a guest's connection to the proxy.
func (s *scene) outbound() {
	s.enter(ownPrerouting, ruleFlow, linkBridge, numberTCP, guest, "203.0.113.9:443", 1)
	s.hop(ourPrerouting, ruleCapture, verdictAccept)
	s.conntrack(numberTCP, guest, "203.0.113.9:443", "10.0.2.1:15001", statusSeenReply)
}

// proxy opens a connection from the proxy.
func (s *scene) proxy(from, to, answeredBy string) {
	s.enter(ownOutput, ruleProxy, 0, numberTCP, from, to, 9)
	s.hop(ourOutput, ruleUpstream, verdictAccept)
	s.conntrack(numberTCP, from, to, answeredBy, statusSeenReply)
}

// verdict is the report of a flow without its hops.
type verdict struct {
	From    From
	Ending  Ending
	Answer  Answer
	Via     bool
	Legs    int
	Likely  bool
	Bypass  uint64
	Drop    uint64
	Packets int
}

func verdicts(flows []FlowReport) []verdict {
	var out []verdict
	for _, f := range flows {
		v := verdict{From: f.From, Ending: f.Ending, Answer: f.Answer, Via: f.ViaProxy, Legs: len(f.Legs), Packets: f.Packets}
		v.Likely = f.Legs[len(f.Legs)-1].Likely
		if f.BypassedBy != nil {
			v.Bypass = f.BypassedBy.Handle
		}
		if f.DroppedBy != nil {
			v.Drop = f.DroppedBy.Handle
		}
		out = append(out, v)
	}
	return out
}

func TestCollector(t *testing.T) {
	for _, tc := range scenes() {
		t.Run(tc.name, func(t *testing.T) {
			s := newScene(func(*Request) {})
			tc.play(s)
			flows := s.c.Report()
			if diff := cmp.Diff(tc.want, verdicts(flows)); diff != "" {
				t.Errorf("flows (-want +got):\n%s", diff)
			}
			if tc.says != "" && (len(flows) == 0 || !strings.Contains(flows[0].Summary, tc.says)) {
				t.Errorf("no flow has %q: %+v", tc.says, flows)
			}
		})
	}
}

func TestDone(t *testing.T) {
	for name, tc := range map[string]struct {
		play func(*scene)
		// early and late report whether the trace is done 250 milliseconds and
		// a long time after the last packet.
		early, late bool
	}{
		"nothing":              {func(*scene) {}, false, false},
		"proxied, second leg":  {func(s *scene) { s.inbound(); s.proxy("127.0.0.6:40001", "10.244.0.8:8080", "10.0.2.2:8080") }, true, true},
		"proxied, nothing yet": {func(s *scene) { s.inbound() }, false, true},
		"no answer yet": {func(s *scene) {
			s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
			s.conntrack(numberTCP, client, "10.244.0.8:22", "10.0.2.2:22", 0)
		}, false, true},
		"dropped": {func(s *scene) {
			s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 1)
			s.hop(foreignForward, ruleDrop, verdictDrop)
		}, true, true},
		"only the proxy": {func(s *scene) { s.proxy("127.0.0.6:40001", "10.244.0.8:8080", "10.0.2.2:8080") }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(func(r *Request) { r.MaxFlows = 1 })
			tc.play(s)
			for after, want := range map[time.Duration]bool{0: false, time.Second / 4: tc.early, time.Minute: tc.late} {
				if got := s.c.Done(s.at.Add(after)); got != want {
					t.Errorf("done after %s: %t", after, got)
				}
			}
		})
	}
}

// TestCollectorIsBounded sends more messages than the limits of a collector.
func TestCollectorIsBounded(t *testing.T) {
	s := newScene(func(*Request) {})
	s.inbound()
	for i := range 3 * maxConnection {
		p := uint16(i)
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		from, to := netip.AddrPortFrom(a, p), endpoint("10.244.0.8:80")
		s.c.Conntrack(s.at, ConntrackEvent{Original: tuple(numberTCP, from, to), Reply: tuple(numberTCP, to, from)})
		s.packet = Packet{Tuple: tuple(numberTCP, from, to), Sequence: uint32(i), ID: p}
		s.hop(ownPrerouting, ruleFlow, verdictContinue)
		s.hop(foreignForward, ruleQueue, verdictContinue)
	}
	c := s.c
	if len(c.packets) > maxPackets || len(c.connections) > maxConnection || len(c.traversals) > maxTraversals {
		t.Errorf("%d packets, %d connections, %d traversals", len(c.packets), len(c.connections), len(c.traversals))
	}
	if flows := c.Report(); len(flows) != 2 || flows[0].Ending != EndingProxyInbound || c.Lost() == 0 {
		t.Errorf("%d flows, %d lost: %+v", len(flows), c.Lost(), flows)
	}
}

func TestAddRules(t *testing.T) {
	s := newScene(func(*Request) {})
	s.inbound()
	if s.c.UnknownRules() || s.c.Unconnected() {
		t.Error("a rule is missing")
	}
	s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 2)
	s.hop(istioPrerouting, 999, verdictContinue)
	if !s.c.UnknownRules() || !s.c.Unconnected() {
		t.Error("no rule is missing")
	}
	later := RuleKey{istioPrerouting, 999}
	s.c.AddRules(Ruleset{Chains: map[ChainKey]ChainInfo{istioPrerouting: {}}, Rules: map[RuleKey]RuleInfo{later: {Text: "late"}}})
	if s.c.UnknownRules() || s.c.ns.Rules.Chains[istioPrerouting].Hook == "" {
		t.Error("the later dump was not added")
	}
}
