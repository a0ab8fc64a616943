// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Times after which a Collector considers a flow as ended.
const (
	// quiet allows for pending messages: trace messages and conntrack events
	// are received on two sockets.
	quiet = 200 * time.Millisecond
	// replyTimeout is the time to wait for answers and for the proxy's second
	// leg. A client repeats its first packet after one second (RFC 6298).
	replyTimeout = 3 * time.Second
	// joinWindow is the maximum time between the two legs if they are
	// correlated only by time.
	joinWindow = 3 * time.Second
)

// judged is a journey with its evaluation.
type judged struct {
	*journey
	ending Ending
	answer Answer
	// source and final are the addresses after all translations.
	source, final netip.AddrPort
	// decisive is the rule that set the destination, or nil.
	decisive *step
	// excluded is the last rule that returned from a chain of Istio.
	excluded *step
	// fatal is the step that ended the path of the packet.
	fatal *step
	// second is the connection that the proxy opened for this connection.
	second *judged
	likely bool
}

// judge evaluates the path of a packet.
func (c *Collector) judge(j *journey) *judged {
	out := &judged{journey: j, source: j.lastSeen.Source, final: j.lastSeen.Destination}
	for i := range j.steps {
		c.weigh(out, &j.steps[i])
	}
	known := c.connections[j.packet.Tuple]
	if known != nil {
		out.final, out.source = known.event.Reply.Source, known.event.Reply.Destination
	}
	out.answer = answerOf(known, j.packet.Protocol)
	out.ending = c.place(out.final, j.packet.Protocol)
	switch {
	case out.fatal != nil && out.answer != AnswerYes:
		out.ending, out.answer = EndingDropped, AnswerNone
	case out.ending == EndingNoListener && out.answer == AnswerYes:
		out.ending = EndingPod // It was listening at that time.
	case out.ending == EndingNoListener:
		out.answer = AnswerRefused
	}
	return out
}

// weigh records the effect of a step.
func (c *Collector) weigh(out *judged, s *step) {
	if s.event.ends() {
		out.fatal = s
		return
	}
	chain := c.ns.Rules.Chains[s.base]
	if chain.Type != chainTypeNAT || (chain.Hook != "prerouting" && chain.Hook != "output") {
		return
	}
	switch s.event.Verdict {
	case verdictAccept:
		if s.event.Kind == EventRule && c.translates(s) {
			out.decisive = s
		}
	case verdictReturn:
		if c.ns.Rules.writer(s.rule().ChainKey) == writerIstio {
			out.excluded = s
		}
	}
}

// translates reports whether the rule of the step sets a destination. Unknown
// rules are assumed to do so.
func (c *Collector) translates(s *step) bool {
	r, ok := c.ns.Rules.Rules[s.rule()]
	text := strings.ToLower(r.Text)
	return !ok || strings.Contains(text, "dnat") || strings.Contains(text, "redirect")
}

// answerOf returns the answer according to conntrack. A reset in response to
// the first packet deletes the entry immediately (Linux,
// nf_conntrack_proto_tcp.c).
func answerOf(known *connection, protocol uint8) Answer {
	switch {
	case known == nil:
		return AnswerUnknown
	case known.replied:
		return AnswerYes
	case protocol == numberTCP && (known.gone || known.reset):
		return AnswerRefused
	default:
		return AnswerNone
	}
}

// place returns the location of an address.
func (c *Collector) place(to netip.AddrPort, protocol uint8) Ending {
	local, onBridge := c.locate(to.Addr())
	ported := protocol == numberTCP || protocol == numberUDP
	switch {
	case !to.Addr().IsValid():
		return EndingUnknown
	case !local && onBridge:
		return EndingGuest
	case !local:
		return EndingOutside
	case ported && c.ns.Listens != nil && !c.ns.Listens(protocol, to):
		return EndingNoListener
	case protocol != numberTCP:
		return EndingPod
	}
	switch p := c.request.Proxy; to.Port() {
	case p.InboundPort, p.TunnelPort:
		return EndingProxyInbound
	case p.OutboundPort:
		return EndingProxyOutbound
	default:
		return EndingPod
	}
}

// locate reports whether an address is local to the network namespace, and
// whether it is on the link to the guest.
func (c *Collector) locate(a netip.Addr) (local, onBridge bool) {
	local = a.IsLoopback()
	for _, l := range c.ns.Links {
		for _, p := range l.Prefixes {
			local = local || p.Addr() == a
			onBridge = onBridge || (l.Name == c.request.Bridge && p.Contains(a))
		}
	}
	return local, onBridge
}

// proxied reports whether the proxy has accepted the connection.
func (j *judged) proxied() bool {
	return j.ending == EndingProxyInbound || j.ending == EndingProxyOutbound
}

// judgeAll evaluates the requested flows and correlates the second legs of the
// proxy.
func (c *Collector) judgeAll() []*judged {
	var flows, candidates []*judged
	for _, j := range c.flows {
		if c.answersOther(j) {
			continue
		}
		switch v := c.judge(j); {
		case j.roles[RoleProxy]:
			candidates = append(candidates, v)
		case j.roles[RoleFlow]:
			flows = append(flows, v)
		}
	}
	for _, f := range flows {
		if f.proxied() {
			candidates = f.join(candidates)
		}
	}
	for _, v := range candidates {
		if v.roles[RoleFlow] {
			flows = append(flows, v)
		}
	}
	slices.SortStableFunc(flows, func(a, b *judged) int { return a.first.Compare(b.first) })
	return flows
}

// join returns the proxy's connection for a redirected connection: a connection
// to the original destination if one exists, because a proxy that does not know
// the destination connects to it, otherwise, outbound, the next connection. It
// also returns the remaining candidates.
func (j *judged) join(candidates []*judged) []*judged {
	exact := slices.IndexFunc(candidates, func(v *judged) bool {
		return !v.first.Before(j.first) && v.packet.Destination == j.packet.Destination
	})
	picked := exact
	if exact < 0 && j.ending == EndingProxyOutbound {
		picked = slices.IndexFunc(candidates, func(v *judged) bool {
			after := v.first.Sub(j.first)
			return after >= 0 && after <= joinWindow && v.ending != EndingPod
		})
	}
	if exact < 0 && j.ending == EndingProxyInbound {
		picked = slices.IndexFunc(candidates, func(v *judged) bool {
			after := v.first.Sub(j.first)
			return after >= 0 && after <= joinWindow && v.ending == EndingGuest
		})
	}
	if picked < 0 {
		return candidates
	}
	j.second, j.likely = candidates[picked], exact < 0
	return slices.Delete(candidates, picked, picked+1)
}

// answersOther reports whether the packet is an answer of a connection in the
// opposite direction. Datagrams of a loosely described flow can be answers.
func (c *Collector) answersOther(j *journey) bool {
	if j.packet.Protocol == numberTCP || c.connections[j.packet.Tuple] != nil {
		return false
	}
	for _, known := range c.connections {
		if known.event.Reply == j.packet.Tuple {
			return true
		}
	}
	return false
}

// settled reports whether no further messages of a flow are expected.
func (j *judged) settled(now time.Time) bool {
	since := now.Sub(j.last)
	switch {
	case since < quiet:
		return false
	case j.ending == EndingDropped, j.ending == EndingNoListener, j.answer == AnswerRefused:
		return true
	case j.answer != AnswerYes:
		return since >= replyTimeout
	case !j.proxied():
		return true
	case j.second != nil:
		return j.second.settled(now)
	default:
		return since >= replyTimeout
	}
}

// Done reports whether the requested number of flows have ended.
func (c *Collector) Done(now time.Time) bool {
	settled := 0
	for _, f := range c.judgeAll() {
		if f.settled(now) {
			settled++
		}
	}
	return settled >= c.request.MaxFlows
}

// from returns where the packet entered.
func (c *Collector) from(j *journey) From {
	switch name := c.ns.Links[j.input].Name; {
	case j.entry.Chain == chainOutput || name == "lo":
		return FromPod
	case name == c.request.Bridge:
		return FromGuest
	default:
		return FromOutside
	}
}

// Names of the chains in the trace's table.
const (
	chainPrerouting = "prerouting"
	chainOutput     = "output"
)
