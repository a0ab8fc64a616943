// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// visitedChains are base chains of both families.
var visitedChains = []Chain{
	{Writer: "X", Family: "inet", Table: "x", Chain: "raw", Hook: "prerouting", Type: "filter", Priority: -400},
	{Writer: "meshvm", Family: "inet", Table: "meshvm", Chain: "prerouting", Hook: "prerouting", Type: "nat", Priority: -110},
	{Writer: "Istio", Family: "ip", Table: "nat", Chain: "PREROUTING", Hook: "prerouting", Type: "nat", Priority: -100},
	{Writer: "Istio", Family: "ip6", Table: "nat", Chain: "PREROUTING", Hook: "prerouting", Type: "nat", Priority: -100},
	{Writer: "X", Family: "inet", Table: "x", Chain: "late", Hook: "prerouting", Type: "filter", Priority: 10},
	{Writer: "meshvm", Family: "inet", Table: "meshvm", Chain: "output", Hook: "output", Type: "nat", Priority: -110},
	{Writer: "Istio", Family: "ip", Table: "nat", Chain: "OUTPUT", Hook: "output", Type: "nat", Priority: -100},
	{Writer: "Istio", Family: "ip", Table: "nat", Chain: "POSTROUTING", Hook: "postrouting", Type: "nat", Priority: 100},
}

func hopIn(chain int, verdict, text string) Hop {
	c := visitedChains[chain]
	h := Hop{RuleRef: RuleRef{Writer: c.Writer, Family: c.Family, Table: c.Table, Chain: c.Chain, Text: text}, Hook: c.Hook, Priority: c.Priority, Verdict: verdict}
	if verdict != "policy accept" {
		h.Handle = 7
	}
	return h
}

func TestVisits(t *testing.T) {
	jumped := hopIn(2, "return", "return")
	jumped.Base, jumped.Chain = jumped.Chain, "ISTIO_INBOUND"
	for _, tc := range []struct {
		name   string
		source string
		hops   []Hop
		want   []string
	}{
		{
			"binding in the first nat chain", "10.0.0.1:1",
			[]Hop{hopIn(1, "accept", "redirect to :15006"), hopIn(4, "policy accept", "")},
			[]string{
				"prerouting raw 0 runs before the trace", "prerouting prerouting 3 ", "prerouting PREROUTING 0 skipped: binding set by 3",
				"prerouting late 4 ",
			},
		},
		{
			"an accept without a translation", "10.0.0.1:1",
			[]Hop{hopIn(1, "accept", "tcp dport 1 accept"), hopIn(2, "jump X", "jump X"), jumped},
			[]string{
				"prerouting raw 0 runs before the trace", "prerouting prerouting 3 ", "prerouting PREROUTING 4 ", "prerouting late 0 not seen",
			},
		},
		{
			"a rule without text", "[fd00::1]:1",
			[]Hop{hopIn(1, "accept", "")},
			[]string{
				"prerouting raw 0 runs before the trace", "prerouting prerouting 3 ", "prerouting PREROUTING 0 skipped: binding set by 3",
				"prerouting late 0 not seen",
			},
		},
		{
			"dropped", "10.0.0.1:1",
			[]Hop{hopIn(1, "drop", "drop")},
			[]string{
				"prerouting raw 0 runs before the trace", "prerouting prerouting 3 ",
				"prerouting PREROUTING 0 not reached: packet ended at 3", "prerouting late 0 not reached: packet ended at 3",
			},
		},
		{
			"a local connection", "127.0.0.1:1",
			[]Hop{hopIn(5, "policy accept", ""), hopIn(6, "policy accept", ""), hopIn(4, "policy accept", "")},
			[]string{
				"output output 3 ", "output OUTPUT 4 ", "prerouting raw 0 runs before the trace",
				"prerouting prerouting 0 skipped: binding set by hook output", "prerouting PREROUTING 0 skipped: binding set by hook output",
				"prerouting late 5 ",
			},
		},
		{"a hop without a chain", "10.0.0.1:1", []Hop{{}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, h := range (Result{Chains: visitedChains}).Visits(Leg{Source: tc.source, Hops: tc.hops}, 2) {
				for _, v := range h.Chains {
					got = append(got, fmt.Sprintf("%s %s %d %s", h.Hook, v.Chain.Chain, v.Number, v.Skipped))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("visits (-want +got):\n%s", diff)
			}
		})
	}
}

// TestVisitsWithoutInventory reads a result without chains, as an earlier
// program or Encode with a limit writes it.
func TestVisitsWithoutInventory(t *testing.T) {
	got := Result{}.Visits(Leg{Hops: []Hop{hopIn(1, "accept", "dnat"), hopIn(7, "policy accept", "")}}, 0)
	if len(got) != 2 || got[0].Chains[0].Number != 1 || got[1].Chains[0].Number != 2 {
		t.Errorf("visits %+v", got)
	}
}

func TestHeadline(t *testing.T) {
	leg := []Leg{{Destination: "10.0.0.1:80"}}
	for want, f := range map[string]FlowReport{
		"Reached the guest through the proxy":                          {Ending: EndingGuest, ViaProxy: true},
		"Reached the guest, bypassing the proxy; it was refused there": {Ending: EndingGuest, Answer: AnswerRefused},
		"Left the pod, bypassing the proxy; no answer":                 {Ending: EndingOutside, Answer: AnswerNone},
		"Left the pod": {Ending: EndingOutside, From: FromPod, Answer: AnswerYes},
		"Ended at the proxy, which opened no connection":            {Ending: EndingProxyInbound, ViaProxy: true},
		"Ended at the proxy, which opened no connection; no answer": {Ending: EndingProxyOutbound, Answer: AnswerNone, ViaProxy: true},
		"Reached a process in the pod":                              {Ending: EndingPod},
		"Refused: nothing listens at 10.0.0.1:80 in the pod":        {Ending: EndingNoListener},
		"Dropped by another writer in chain forward":                {Ending: EndingDropped, DroppedBy: &RuleRef{Writer: writerOther, Chain: "forward"}},
		"Dropped":              {Ending: EndingDropped},
		"The end was not seen": {Ending: EndingUnknown},
	} {
		f.Legs = leg
		if got := f.Headline(); got != want {
			t.Errorf("headline %q, want %q", got, want)
		}
	}
}
