// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"strings"
)

// Report returns the flows that have been seen so far.
func (c *Collector) Report() []FlowReport {
	var out []FlowReport
	for _, v := range c.judgeAll() {
		if len(out) == c.request.MaxFlows {
			break
		}
		out = append(out, c.report(v))
	}
	return out
}

// Chains returns the base chains of the network namespace.
func (c *Collector) Chains() []Chain { return c.ns.Rules.inventory() }

// Lost returns the number of packets that exceeded the limits of the report.
func (c *Collector) Lost() int {
	return c.dropped + max(0, len(c.judgeAll())-c.request.MaxFlows)
}

func (c *Collector) report(v *judged) FlowReport {
	r := FlowReport{
		From: c.from(v.journey), Ending: v.ending, Answer: v.answer, ViaProxy: v.proxied(),
		Packets: 1 + v.repeated, Legs: []Leg{c.leg(v)},
	}
	if v.proxied() && c.ns.Rules.ambient() {
		r.Proxy = ztunnel
	}
	last := v
	if v.second != nil {
		second := c.leg(v.second)
		second.Likely = v.likely
		r.Legs = append(r.Legs, second)
		r.Ending, r.Answer, last = v.second.ending, v.second.answer, v.second
	}
	if last.ending == EndingDropped {
		ref := c.ref(last.fatal)
		r.DroppedBy = &ref
	}
	if v.decisive != nil && !v.proxied() && r.From != FromPod && (v.ending == EndingGuest || v.ending == EndingOutside) {
		ref := c.ref(v.decisive)
		r.BypassedBy = &ref
	}
	r.Summary = c.summary(v, r.From)
	return r
}

func (c *Collector) leg(v *judged) Leg {
	p := v.packet
	l := Leg{
		Protocol: protocolName(p.Protocol), Source: p.EndpointText(p.Source), Destination: p.EndpointText(p.Destination),
		Ending: v.ending, Answer: v.answer,
	}
	if v.source.IsValid() && v.source != p.Source {
		l.TranslatedSource = p.EndpointText(v.source)
	}
	if v.final.IsValid() && v.final != p.Destination {
		l.TranslatedDestination = p.EndpointText(v.final)
	}
	for i := range v.steps {
		s := &v.steps[i]
		chain := c.ns.Rules.Chains[s.base]
		h := Hop{
			RuleRef: c.ref(s), Hook: chain.Hook, Priority: chain.Priority,
			Verdict: s.event.verdictWords(), Packet: s.packet.String(),
		}
		if s.base.Chain != h.Chain {
			h.Base = s.base.Chain
		}
		l.Hops = append(l.Hops, h)
	}
	return l
}

// ref returns the rule of a step, or the chain of a policy.
func (c *Collector) ref(s *step) RuleRef {
	k := s.rule()
	if s.event.Kind != EventRule {
		k.Handle = 0
	}
	rule := c.ns.Rules.Rules[k]
	ref := RuleRef{
		Writer: c.ns.Rules.writer(k.ChainKey), Family: familyName(k.Family), Table: k.Table, Chain: k.Chain,
		Handle: k.Handle, Text: rule.Text, Comment: rule.Comment,
	}
	if k.isRepair() {
		ref.Repairs = repairs(rule.Comment)
	}
	return ref
}

// words returns the name of a rule for a sentence.
func (r RuleRef) words() string {
	place := fmt.Sprintf("chain %s of table %s %s", r.Chain, r.Family, r.Table)
	switch {
	case r.Handle == 0:
		return fmt.Sprintf("the policy of %s (%s)", place, r.Writer)
	case r.Writer == writerMeshvm && r.Comment != "":
		return fmt.Sprintf("meshvm's rule %q in chain %s", r.Comment, r.Chain)
	case r.Text == "":
		return fmt.Sprintf("%s's rule with handle %d in %s", r.Writer, r.Handle, place)
	case r.Comment != "":
		return fmt.Sprintf("%s's rule %q (%s) in %s", r.Writer, r.Comment, r.Text, place)
	default:
		return fmt.Sprintf("%s's rule %q in %s", r.Writer, r.Text, place)
	}
}

// by returns "by <rule>", or that no rule decided.
func (c *Collector) by(s *step, none string) string {
	if s == nil {
		return none
	}
	return "by " + c.ref(s).words()
}

// summary returns a sentence that describes where the flow ended.
func (c *Collector) summary(v *judged, from From) string {
	if !v.proxied() {
		return sentence(c.ended(v, from))
	}
	proxy, which := c.proxy(), "inbound"
	switch {
	case v.ending == EndingProxyOutbound:
		which = "outbound"
	case v.final.Port() == c.request.Proxy.TunnelPort:
		which = "inbound HBONE"
	}
	how := "redirected " + c.by(v.decisive, "by a rule that was not seen")
	if v.final == v.packet.Destination {
		how = "which no rule changed"
	}
	first := sentence(fmt.Sprintf("reached %s's %s port %d, %s", proxy, which, v.final.Port(), how))
	switch {
	case v.second != nil && v.likely:
		return first + " " + sentence(fmt.Sprintf("%s's next connection, to %s, is likely its second leg: it %s",
			proxy, v.second.packet.Destination, c.ended(v.second, FromPod)))
	case v.second != nil:
		return first + " " + sentence(fmt.Sprintf("%s's own connection to %s %s", proxy, v.second.packet.Destination, c.ended(v.second, FromPod)))
	case v.answer == AnswerYes:
		return first + " " + sentence(proxy+" accepted it, but no new connection of the proxy was seen: the proxy may reuse a connection, answer itself, or reject the client")
	default:
		return first + " " + sentence(answerWords(proxy, v.answer))
	}
}

// ztunnel is the name of the proxy in Istio's ambient mode.
const ztunnel = "ztunnel"

// proxy returns the name of the pod's proxy for sentences.
func (c *Collector) proxy() string {
	if c.ns.Rules.ambient() {
		return ztunnel
	}
	return "the proxy"
}

// ended returns where a connection that did not reach a proxy ended.
func (c *Collector) ended(v *judged, from From) string {
	to := v.packet.EndpointText(v.final)
	switch v.ending {
	case EndingGuest:
		past := ""
		if from != FromPod {
			past = " bypassing the proxy"
		}
		return fmt.Sprintf("reached the guest at %s%s, %s; %s", to, past,
			c.by(v.decisive, "by no rule that was seen"), answerWords("the guest", v.answer))
	case EndingOutside:
		return c.outside(v, from, to)
	case EndingPod:
		return fmt.Sprintf("reached a process in the pod that listens at %s, %s; %s", to,
			c.by(v.decisive, "with no rule that changed its destination"), answerWords("it", v.answer))
	case EndingNoListener:
		return c.noListener(v, to)
	case EndingDropped:
		return c.droppedWords(v)
	case EndingProxyInbound, EndingProxyOutbound:
		return fmt.Sprintf("was sent to %s again, at %s, %s", c.proxy(), to, c.by(v.decisive, "by no rule that was seen"))
	case EndingUnknown:
		fallthrough
	default:
		return "ended at a location that neither rules nor conntrack events show"
	}
}

func (c *Collector) outside(v *judged, from From, to string) string {
	switch {
	case from != FromGuest && v.final == v.packet.Destination:
		return "left the pod; " + answerWords("the other end", v.answer)
	case from != FromGuest:
		return fmt.Sprintf("left the pod for %s; %s", to, answerWords("the other end", v.answer))
	}
	return fmt.Sprintf("bypassed the proxy and went to %s outside, %s; %s", to,
		c.by(v.decisive, "because no rule redirected it"), answerWords("the other end", v.answer))
}

func (c *Collector) noListener(v *judged, to string) string {
	text := fmt.Sprintf("was refused by the pod itself: it was delivered to %s in the pod, where nothing listens; ", to)
	if v.decisive != nil {
		return text + "it was sent there " + c.by(v.decisive, "")
	}
	text += "no rule led it to the guest or to the proxy"
	if v.excluded != nil {
		text += ", and it was excluded from the mesh " + c.by(v.excluded, "")
	}
	return text
}

func (c *Collector) droppedWords(v *judged) string {
	ref := c.ref(v.fatal)
	verb := "was dropped"
	switch e := v.fatal.event; {
	case strings.Contains(ref.Text, "reject"):
		verb = "was rejected"
	case e.Kind == EventRule && e.Verdict&verdictMask == verdictStolen:
		verb = "was consumed by the kernel"
	case e.Kind == EventRule && e.Verdict&verdictMask == verdictQueue:
		verb = "was queued to a program in user space"
	}
	hook := c.ns.Rules.Chains[v.fatal.base].Hook
	if hook != "" {
		verb += " in " + hook
	}
	return verb + " by " + ref.words()
}

func answerWords(who string, a Answer) string {
	switch a {
	case AnswerYes:
		return who + " answered"
	case AnswerRefused:
		return who + " refused the connection (reset): nothing listens there"
	case AnswerNone:
		return who + " did not answer during the trace"
	case AnswerUnknown:
		fallthrough
	default:
		return "whether " + who + " answered was not seen"
	}
}

// sentence returns text with a capital letter at the start and a period at the
// end.
func sentence(s string) string {
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
