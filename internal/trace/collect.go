// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"net/netip"
	"time"
)

// Bounds of what a Collector keeps.
const (
	maxPackets    = 512
	maxHops       = 64
	maxTraversals = 4096
	maxConnection = 4096
)

// Role explains why a packet is traced: a rule of the own table has matched it.
type Role string

// Roles are the comments of the rules of the own table.
const (
	// RoleFlow is a first packet of the described flow.
	RoleFlow Role = "flow"
	// RoleProxy is a first packet of a connection that the proxy opens.
	RoleProxy Role = "proxy"
)

// Link is an interface of the namespace.
type Link struct {
	// Name is the interface's name.
	Name string
	// Prefixes are its addresses with their networks.
	Prefixes []netip.Prefix
}

// Namespace is what a Collector has to know of the network namespace.
type Namespace struct {
	// Links are known by their index.
	Links map[uint32]Link
	// Listens reports whether a process in the namespace listens; nil means that
	// are not known.
	Listens func(protocol uint8, to netip.AddrPort) bool
	// Rules are those of a dump.
	Rules Ruleset
	// Roles of the own table's rules by handle.
	Roles map[uint64]Role
}

// Collector puts trace messages and conntrack events together. It is pure: the
// time comes with each message.
type Collector struct {
	request Request
	ns      Namespace
	// traversals are packets on their way through a base chain, by the
	// kernel's trace id.
	traversals map[uint32]*traversal
	// packets are known by what no translation changes.
	packets map[fingerprint]*journey
	// connections are conntrack's, by their original tuple.
	connections map[Tuple]*connection
	// flows are in the order of their beginning.
	flows  []*journey
	byFlow map[Tuple]*journey
	// dropped counts what did not fit.
	dropped int
}

// traversal is a packet in a base chain.
type traversal struct {
	journey *journey
	packet  Packet
	base    ChainKey
	matched bool
}

// step is a hop in the kernel's terms.
type step struct {
	event  Event
	base   ChainKey
	packet Tuple
}

// journey is a packet's way through all hooks.
type journey struct {
	packet Packet
	entry  ChainKey
	roles  map[Role]bool
	input  uint32
	steps  []step
	// repeated counts packets of the same connection.
	repeated    int
	first, last time.Time
	// lastSeen is the packet as the last hop saw it.
	lastSeen Packet
	// repeat marks a packet whose connection has a journey already.
	repeat bool
}

// connection is what conntrack reported of a connection.
type connection struct {
	event ConntrackEvent
	gone  bool
	// replied reports whether an answer was ever seen.
	replied bool
	// reset reports whether the connection was closed by a reset.
	reset    bool
	from, to time.Time
}

// NewCollector returns one for a request with its defaults.
func NewCollector(r Request, ns Namespace) *Collector {
	return &Collector{
		request: r.WithDefaults(), ns: ns,
		traversals: map[uint32]*traversal{}, packets: map[fingerprint]*journey{},
		connections: map[Tuple]*connection{}, byFlow: map[Tuple]*journey{},
	}
}

// Trace takes a trace message.
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
		return // Only the end of a chain in which nothing matched reports something.
	}
	j.steps = append(j.steps, step{event: e, base: t.base, packet: t.packet.Tuple})
}

// journey finds the packet of an event with headers, or begins one in the own
// table. A packet that enters where it has entered before is another one.
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

// Conntrack takes a conntrack event.
func (c *Collector) Conntrack(at time.Time, e ConntrackEvent) {
	known := c.connections[e.Original]
	if known == nil || (known.gone && e.Kind == ConntrackSeen) {
		if e.Kind == ConntrackGone && known == nil && c.byFlow[e.Original] == nil {
			return // It began before the trace.
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

// forget makes room: first for what is gone, then for anything, but not of a
// packet that was seen.
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

// AddRules adds the rules of a later dump; those that are known stay, for they
// may be gone by now.
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

// SetListeners replaces what is known of the sockets.
func (c *Collector) SetListeners(l Listeners) { c.ns.Listens = l.Listens }

// Unconnected reports whether conntrack has reported nothing of a connection.
func (c *Collector) Unconnected() bool {
	for _, j := range c.flows {
		if c.connections[j.packet.Tuple] == nil {
			return true
		}
	}
	return false
}

// UnknownRules reports whether a packet matched a rule that the dump did not have.
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
