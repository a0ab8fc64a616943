// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// Total is a sum of rule counters.
type Total string

// Totals. A rule without a total, for example a rule for the proxy's own
// connections, is not part of any sum.
const (
	// TotalCaptured counts connections that are redirected to the mesh proxy.
	TotalCaptured Total = "captured"
	// TotalDirect counts connections that bypass the proxy.
	TotalDirect Total = "direct"
	// TotalDropped counts dropped packets.
	TotalDropped Total = "dropped"
)

// Totals sums the counters of a snapshot by the totals of the rules in the
// wanted table. Rules are identified by chain and text, so foreign rules in the
// table do not change the result.
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
