// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// Total is a sum of rule counters that people and policies ask for.
type Total string

// Totals. A rule that belongs to none, as those for the proxy's own
// connections, counts for itself only.
const (
	// TotalCaptured is of rules that send connections to the mesh proxy.
	TotalCaptured Total = "captured"
	// TotalDirect is of rules that send connections bypassing the proxy.
	TotalDirect Total = "direct"
	// TotalDropped is of rules that drop packets.
	TotalDropped Total = "dropped"
)

// Totals adds up the counters of a snapshot by the totals of the wanted table's
// rules. Rules are distinguished by chain and text, so that a table with foreign
// rules in between still counts right.
func Totals(want Table, got nft.Snapshot) ruleio.Counters {
	totals := map[string]Total{}
	for _, c := range want.Chains {
		for i, r := range c.Rules {
			totals[c.Name+" "+r.Text()] = want.Purposes[c.Name][i].Total
		}
	}
	rules := map[string][]nft.Rule{}
	for _, c := range got.Table.Chains {
		rules[c.Name] = c.Rules
	}
	var out ruleio.Counters
	for _, n := range got.Counters {
		if n.Index >= len(rules[n.Chain]) {
			continue
		}
		switch totals[n.Chain+" "+rules[n.Chain][n.Index].Text()] {
		case TotalCaptured:
			out.Captured += n.Packets
		case TotalDirect:
			out.Direct += n.Packets
		case TotalDropped:
			out.Dropped += n.Packets
		}
	}
	return out
}
