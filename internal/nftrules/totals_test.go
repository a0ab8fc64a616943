// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// TestTotals counts one packet in the first rule, two in the second, and so on.
func TestTotals(t *testing.T) {
	want, err := Build(fullPlan())
	if err != nil {
		t.Fatal(err)
	}
	snapshot := func(table nft.Table) nft.Snapshot {
		s := nft.Snapshot{Table: table}
		for _, c := range table.Chains {
			for i := range c.Rules {
				s.Counters = append(s.Counters, nft.RuleCounter{Chain: c.Name, Index: i, Packets: uint64(len(s.Counters) + 1)})
			}
		}
		return s
	}
	var expected ruleio.Counters
	n := uint64(0)
	for _, c := range want.Chains {
		for i := range c.Rules {
			n++
			switch want.Purposes[c.Name][i].Total {
			case TotalCaptured:
				expected.Captured += n
			case TotalDirect:
				expected.Direct += n
			case TotalDropped:
				expected.Dropped += n
			}
		}
	}
	if diff := cmp.Diff(expected, Totals(want, snapshot(want.Table))); diff != "" || expected.Captured == 0 || expected.Direct == 0 {
		t.Errorf("totals (-want +got):\n%s", diff)
	}

	got := want.Table
	got.Chains = slices.Clone(want.Chains)
	got.Chains[0].Rules = slices.Insert(slices.Clone(want.Chains[0].Rules), 0, nft.Rule{Counter: true})
	foreign := snapshot(got)
	foreign.Counters[0].Packets = 1000
	for i := range foreign.Counters[1:] {
		foreign.Counters[1+i].Packets--
	}
	if diff := cmp.Diff(expected, Totals(want, foreign)); diff != "" {
		t.Errorf("totals next to a foreign rule (-want +got):\n%s", diff)
	}
}
