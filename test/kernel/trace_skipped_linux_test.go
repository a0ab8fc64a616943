// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/trace"
)

// visitComment is the comment of the rules that count the packets of a chain.
const visitComment = "counts visits"

// TestTraceSkippedChains compares the nat chains that a trace reports as passed
// or skipped with counters at the start of each chain.
func TestTraceSkippedChains(t *testing.T) {
	both := []family{ipv4, ipv6}
	for _, c := range []column{
		{istioIptables, annotated, both},
		{istioNftables, annotated, both},
		{ambientNftables, annotated, both},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := c.newLab(t)
			if !c.istio.ambient {
				l.countVisits()
				t.Run("stock", func(t *testing.T) {
					l.expectVisits(t, traceCase{
						probe: probe{from: fromGuest, network: "tcp4", host: outsideIP, port: databasePort},
						flow:  tcpTo(trace.FromGuest, "", databasePort),
					})
				})
			}
			l.apply(c.startPlan())
			l.countVisits()
			for _, f := range c.families {
				for _, tc := range c.repaired(f) {
					t.Run(f.name+", "+tc.name, func(t *testing.T) { l.expectVisits(t, tc) })
				}
			}
		})
	}
}

// expectVisits compares the chains of a trace with the counters.
func (l *lab) expectVisits(t *testing.T, tc traceCase) {
	t.Helper()
	before := l.visits()
	r := l.trace(traceRequest(tc.flow), func() { l.run(tc.probe, replyTimeout{waitLimit, waitLimit}) })
	after := l.visits()
	if len(r.Flows) != 1 {
		t.Fatalf("outcome %s with %d flows", r.Outcome, len(r.Flows))
	}
	passed, skipped := map[string]bool{}, map[string]string{}
	for _, leg := range r.Flows[0].Legs {
		for _, h := range r.Visits(leg, 0) {
			for _, v := range h.Chains {
				if name := chainName(v.Family, v.Table, v.Chain.Chain); v.Number > 0 {
					passed[name] = true
				} else {
					skipped[name] = v.Skipped
				}
			}
		}
	}
	compared := 0
	for _, c := range r.Chains {
		name := chainName(c.Family, c.Table, c.Chain)
		reason, isSkipped := skipped[name]
		if c.Type != "nat" || !passed[name] && !isSkipped {
			continue
		}
		compared++
		if packets := after[name] - before[name]; passed[name] != (packets > 0) {
			t.Errorf("%s: %d packets, passed %t, skipped %q", name, packets, passed[name], reason)
		}
		if isSkipped && !passed[name] && !strings.HasPrefix(reason, "skipped: binding set by ") {
			t.Errorf("%s: reason %q", name, reason)
		}
	}
	t.Logf("%d nat chains compared, %d passed, skipped %v", compared, len(passed), skipped)
	if compared == 0 {
		t.Error("no chain was compared")
	}
}

func chainName(family, table, chain string) string { return family + " " + table + " " + chain }

// nftList is a part of the output of "nft -j list ruleset" (libnftables-json(5)).
type nftList struct {
	Nftables []struct {
		Chain *struct {
			Family, Table, Name, Type string
		} `json:"chain"`
		Rule *struct {
			Family, Table, Chain, Comment string
			Expr                          []struct {
				Counter *struct{ Packets int } `json:"counter"`
			}
		} `json:"rule"`
	} `json:"nftables"`
}

func (l *lab) list() nftList {
	l.t.Helper()
	var out nftList
	if err := json.Unmarshal([]byte(l.output(l.pod, "", "nft", "-j", "list", "ruleset")), &out); err != nil {
		l.t.Fatal(err)
	}
	return out
}

// countVisits adds a counter to the start of each nat chain that has none.
func (l *lab) countVisits() {
	l.t.Helper()
	counted := l.visits()
	var script strings.Builder
	for _, item := range l.list().Nftables {
		c := item.Chain
		if c == nil || c.Type != "nat" {
			continue
		}
		if _, ok := counted[chainName(c.Family, c.Table, c.Name)]; !ok {
			fmt.Fprintf(&script, "insert rule %s %s %s counter comment %q\n", c.Family, c.Table, c.Name, visitComment)
		}
	}
	l.output(l.pod, script.String(), "nft", "-f", "-")
}

// visits returns the packets of the counters by chain.
func (l *lab) visits() map[string]int {
	l.t.Helper()
	out := map[string]int{}
	for _, item := range l.list().Nftables {
		if r := item.Rule; r != nil && r.Comment == visitComment && r.Expr[0].Counter != nil {
			out[chainName(r.Family, r.Table, r.Chain)] = r.Expr[0].Counter.Packets
		}
	}
	return out
}
