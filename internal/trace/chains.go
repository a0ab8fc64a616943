// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Chain is a base chain of the network namespace.
type Chain struct {
	// Writer is the name of the component that wrote the chain.
	Writer string `json:"writer"`
	// Family, Table and Chain are the location of the chain.
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	// Hook, Type and Priority are the position of the chain in netfilter, in
	// nft's notation.
	Hook     string `json:"hook"`
	Type     string `json:"type"`
	Priority int32  `json:"priority"`
}

// chainTypeNAT is the type of chains that set a translation.
const chainTypeNAT = "nat"

// inventory returns the base chains for IPv4 and IPv6, without those of the
// trace, in the order of their hooks' names and their priorities.
func (r Ruleset) inventory() []Chain {
	var out []Chain
	for k, info := range r.Chains {
		if info.Hook == "" || k.isOwn() || !slices.Contains([]uint8{familyInet, familyIPv4, familyIPv6}, k.Family) {
			continue
		}
		out = append(out, Chain{
			Writer: r.writer(k), Family: familyName(k.Family), Table: k.Table, Chain: k.Chain,
			Hook: info.Hook, Type: info.Type, Priority: info.Priority,
		})
	}
	slices.SortFunc(out, func(a, b Chain) int {
		return cmp.Or(cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.Family, b.Family), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Chain, b.Chain))
	})
	return out
}

// Visit is a base chain at a hook that a packet of a leg passed.
type Visit struct {
	Chain
	// Number counts the chains that the packet passed, from 1. It is 0 if the
	// packet did not pass the chain.
	Number int `json:"number,omitempty"`
	// Hops are the rules of the leg that matched in the chain.
	Hops []Hop `json:"-"`
	// Skipped is the reason for which the packet did not pass the chain.
	Skipped string `json:"skipped,omitempty"`
}

// HookVisit is a hook that a packet of a leg passed.
type HookVisit struct {
	// Hook is the name of the hook in nft.
	Hook string `json:"hook"`
	// Packet contains the addresses of the packet at the start of the first
	// chain.
	Packet string `json:"packet"`
	// Chains are the chains for the family of the packet in the order of their
	// priority.
	Chains []Visit `json:"chains"`
}

// Visits returns the hooks that the packet of a leg passed, in order, with the
// chains that it passed and those that it skipped. The numbers start after
// passed.
//
// The kernel stops at the first nat chain of a hook that sets a translation,
// and calls no nat chain for a connection that has a translation of the same
// kind already (Linux, net/netfilter/nf_nat_core.c, nf_nat_inet_fn).
func (r Result) Visits(l Leg, passed int) []HookVisit {
	var out []HookVisit
	for _, h := range l.Hops {
		if h.Hook == "" {
			continue
		}
		at := slices.IndexFunc(out, func(v HookVisit) bool { return v.Hook == h.Hook })
		if at < 0 {
			out = append(out, HookVisit{Hook: h.Hook, Packet: h.Packet})
			at = len(out) - 1
		}
		chains := out[at].Chains
		c := slices.IndexFunc(chains, func(v Visit) bool { return v.Family == h.Family && v.Table == h.Table && v.Chain.Chain == h.base() })
		if c < 0 {
			passed++
			chains = append(chains, Visit{Number: passed, Chain: r.chain(h)})
			c = len(chains) - 1
		}
		chains[c].Hops = append(chains[c].Hops, h)
		out[at].Chains = chains
	}
	for i := range out {
		out[i].addSkipped(r.Chains, out[:i], strings.HasPrefix(l.Source, "["))
	}
	return out
}

// chain returns the base chain of a hop.
func (r Result) chain(h Hop) Chain {
	out := Chain{Writer: h.Writer, Family: h.Family, Table: h.Table, Chain: h.base(), Hook: h.Hook, Priority: h.Priority}
	for _, c := range r.Chains {
		if c.Family == out.Family && c.Table == out.Table && c.Chain == out.Chain {
			return c
		}
	}
	return out
}

// base returns the name of the hop's base chain.
func (h Hop) base() string { return cmp.Or(h.Base, h.Chain) }

// addSkipped adds the chains of the hook that the packet did not pass. The
// chains that it passed keep their order, because the kernel does not define an
// order of equal priorities.
func (v *HookVisit) addSkipped(all []Chain, earlier []HookVisit, isIPv6 bool) {
	visited := slices.Clone(v.Chains)
	for _, c := range all {
		other := c.Family == "ip" && isIPv6 || c.Family == "ip6" && !isIPv6
		if c.Hook != v.Hook || other || slices.ContainsFunc(visited, func(w Visit) bool { return w.Chain == c }) {
			continue
		}
		before := slices.IndexFunc(v.Chains, func(w Visit) bool { return w.Priority > c.Priority })
		if before < 0 {
			before = len(v.Chains)
		}
		v.Chains = slices.Insert(v.Chains, before, Visit{Chain: c, Skipped: skipReason(c, visited, earlier)})
	}
}

// Reasons for which a packet did not pass a chain. They continue with the
// number of the chain that is the cause.
const (
	skippedBinding  = "skipped: binding set by "
	skippedDropped  = "not reached: packet ended at "
	skippedUnknown  = "not seen"
	skippedTooEarly = "runs before the trace"
)

func skipReason(c Chain, visited []Visit, earlier []HookVisit) string {
	if c.Priority <= ownPriority {
		return skippedTooEarly
	}
	for _, w := range visited {
		last := w.Hops[len(w.Hops)-1]
		if last.Ends() && w.Priority <= c.Priority {
			return skippedDropped + strconv.Itoa(w.Number)
		}
		if c.Type == chainTypeNAT && w.Type == chainTypeNAT && slices.ContainsFunc(w.Hops, Hop.binds) {
			return skippedBinding + strconv.Itoa(w.Number)
		}
	}
	if c.Type != chainTypeNAT {
		return skippedUnknown
	}
	for _, hook := range earlier {
		for _, w := range hook.Chains {
			if w.Number > 0 && w.Type == chainTypeNAT && translatesSource(w.Hook) == translatesSource(c.Hook) {
				return skippedBinding + "hook " + hook.Hook
			}
		}
	}
	return skippedUnknown
}

// translatesSource reports whether nat chains of the hook translate sources.
// Others translate destinations (linux/netfilter/nf_nat.h, HOOK2MANIP).
func translatesSource(hook string) bool { return hook == "postrouting" || hook == "input" }

// binds reports whether a hop in a nat chain sets a translation. Rules without
// a text are assumed to do so.
func (h Hop) binds() bool {
	if h.Verdict != "accept" || h.Handle == 0 {
		return false
	}
	text := strings.ToLower(h.Text)
	return text == "" || slices.ContainsFunc([]string{"dnat", "redirect", "snat", "masquerade"}, func(s string) bool { return strings.Contains(text, s) })
}

// Ends reports whether the path of the packet ends at the hop.
func (h Hop) Ends() bool {
	return slices.Contains([]string{"drop", "policy drop", "stolen", "queue"}, h.Verdict)
}

// Decides reports whether the hop sets a destination, or ends the path of the
// packet in the chain.
func (h Hop) Decides() bool { return h.Verdict == "accept" || h.Ends() }
