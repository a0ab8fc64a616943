// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"net/netip"
	"time"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// Limits of the data that a Collector stores.
const (
	maxPackets    = 512
	maxHops       = 64
	maxTraversals = 4096
	maxConnection = 4096
)

// Role is the reason for which a packet is traced: the rule of the trace's
// table that matched it.
type Role string

// Roles are the comments of the rules of the trace's table.
const (
	// RoleFlow is the first packet of the requested flow.
	RoleFlow Role = "flow"
	// RoleProxy is the first packet of a connection that the proxy opens.
	RoleProxy Role = "proxy"
)

// Link is an interface of the network namespace.
type Link struct {
	// Name is the name of the interface.
	Name string
	// Prefixes are its addresses with their networks.
	Prefixes []netip.Prefix
}

// Namespace contains the facts about the network namespace that a Collector
// needs.
type Namespace struct {
	// Links are the interfaces by index.
	Links map[uint32]Link
	// Listens reports whether a process in the namespace listens on an address.
	// If nil, this is not known.
	Listens func(protocol uint8, to netip.AddrPort) bool
	// Rules are the rules of a dump.
	Rules Ruleset
	// Roles are the roles of the rules in the trace's table by handle.
	Roles map[uint64]Role
}

// Collector correlates trace messages and conntrack events. It is pure: each
// message contains its time.
type Collector struct {
	request Request
	ns      Namespace
	// traversals are packets in a base chain by the kernel's trace ID.
	traversals map[uint32]*traversal
	// packets are the packets by fields that no translation changes.
	packets map[fingerprint]*journey
	// connections are the conntrack entries by their original tuple.
	connections map[nfnetlink.Tuple]*connection
	// flows are in the order of their first packet.
	flows  []*journey
	byFlow map[nfnetlink.Tuple]*journey
	// dropped is the number of items that exceeded the limits.
	dropped int
}

// traversal is a packet in a base chain.
type traversal struct {
	journey *journey
	packet  Packet
	base    ChainKey
	matched bool
}

// step is a hop with the kernel's identifiers.
type step struct {
	event  Event
	base   ChainKey
	packet nfnetlink.Tuple
}

// journey is the path of a packet through all hooks.
type journey struct {
	packet Packet
	entry  ChainKey
	roles  map[Role]bool
	input  uint32
	steps  []step
	// repeated is the number of further packets of the same connection.
	repeated    int
	first, last time.Time
	// lastSeen is the packet as of the last hop.
	lastSeen Packet
	// repeat marks a packet whose connection already has a journey.
	repeat bool
}

// connection is the state of a connection according to conntrack.
type connection struct {
	event ConntrackEvent
	gone  bool
	// replied reports whether an answer was seen.
	replied bool
	// reset reports whether the connection was closed by a reset.
	reset    bool
	from, to time.Time
}

// NewCollector returns a collector for a request whose defaults are set.
func NewCollector(r Request, ns Namespace) *Collector {
	return &Collector{
		request: r.WithDefaults(), ns: ns,
		traversals: map[uint32]*traversal{}, packets: map[fingerprint]*journey{},
		connections: map[nfnetlink.Tuple]*connection{}, byFlow: map[nfnetlink.Tuple]*journey{},
	}
}

// Trace processes a trace message.
func (c *Collector) Trace(at time.Time, e Event) {
	key := ChainKey{Family: e.Family, Table: e.Table, Chain: e.Chain}
	t := c.traversals[e.ID]
	if e.Packet != nil {
		t = &traversal{packet: *e.Packet, base: key, journey: c.journey(at, key, e)}
		if len(c.traversals) >= maxTraversals {
			clear(c.traversals)
		}
		c.traversals[e.ID] = t
	}
	if t == nil || t.journey == nil {
		return
	}
	j := t.journey
	j.last, j.lastSeen = at, t.packet
	if key.isOwn() {
		if role, ok := c.ns.Roles[e.Handle]; ok && e.Kind == EventRule {
			j.roles[role] = true
		}
		return
	}
	if j.repeat || len(j.steps) >= maxHops {
		return
	}
	if e.Kind == EventRule {
		t.matched = true
	} else if !e.ends() && (t.matched || e.Kind == EventReturn) {
		return // Only the end of a chain without a matching rule contains information.
	}
	j.steps = append(j.steps, step{event: e, base: t.base, packet: t.packet.Tuple})
}

// journey returns the packet of an event with headers. In the trace's table it
// creates a new packet, also if the same packet enters a second time.
func (c *Collector) journey(at time.Time, key ChainKey, e Event) *journey {
	f := e.Packet.fingerprint()
	known := c.packets[f]
	if known != nil && (!key.isOwn() || known.entry != key) {
		return known
	}
	if !key.isOwn() {
		return nil
	}
	if len(c.packets) >= maxPackets {
		c.dropped++
		return nil
	}
	j := &journey{packet: *e.Packet, entry: key, roles: map[Role]bool{}, input: e.Input, first: at, last: at}
	c.packets[f] = j
	if first := c.byFlow[e.Packet.Tuple]; first != nil {
		first.repeated++
		j.repeat = true
		return j
	}
	c.byFlow[e.Packet.Tuple] = j
	c.flows = append(c.flows, j)
	return j
}

// Conntrack processes a conntrack event.
func (c *Collector) Conntrack(at time.Time, e ConntrackEvent) {
	known := c.connections[e.Original]
	if known == nil || (known.gone && e.Kind == ConntrackSeen) {
		if e.Kind == ConntrackGone && known == nil && c.byFlow[e.Original] == nil {
			return // The connection was opened before the trace.
		}
		c.forget()
		known = &connection{event: e, from: at}
		c.connections[e.Original] = known
	}
	known.to = at
	known.replied = known.replied || e.Status&(statusSeenReply|statusAssured) != 0
	known.reset = known.reset || e.TCPState == tcpClose
	if e.Reply.Source.IsValid() {
		known.event = e
	}
	known.gone = known.gone || e.Kind == ConntrackGone
}

// forget frees space: deleted connections first, then any connection, except
// for connections of traced packets.
func (c *Collector) forget() {
	if len(c.connections) < maxConnection {
		return
	}
	for _, alsoLive := range []bool{false, true} {
		for t, known := range c.connections {
			if (known.gone || alsoLive) && c.byFlow[t] == nil {
				delete(c.connections, t)
			}
		}
		if len(c.connections) < maxConnection {
			return
		}
	}
}

// AddRules adds the rules of a later dump. Known rules are kept because they
// may have been deleted.
func (c *Collector) AddRules(r Ruleset) {
	for k, v := range r.Chains {
		if _, known := c.ns.Rules.Chains[k]; !known {
			c.ns.Rules.Chains[k] = v
		}
	}
	for k, v := range r.Rules {
		if _, known := c.ns.Rules.Rules[k]; !known {
			c.ns.Rules.Rules[k] = v
		}
	}
}

// SetListeners replaces the listening sockets.
func (c *Collector) SetListeners(l Listeners) { c.ns.Listens = l.Listens }

// Unconnected reports whether a connection without a conntrack event exists.
func (c *Collector) Unconnected() bool {
	for _, j := range c.flows {
		if c.connections[j.packet.Tuple] == nil {
			return true
		}
	}
	return false
}

// UnknownRules reports whether a packet matched a rule that is not in the dump.
func (c *Collector) UnknownRules() bool {
	for _, j := range c.flows {
		for _, s := range j.steps {
			if s.event.Kind != EventRule {
				continue
			}
			if _, ok := c.ns.Rules.Rules[s.rule()]; !ok {
				return true
			}
		}
	}
	return false
}

func (s step) rule() RuleKey {
	return RuleKey{
		ChainKey: ChainKey{Family: s.event.Family, Table: s.event.Table, Chain: s.event.Chain},
		Handle:   s.event.Handle,
	}
}
