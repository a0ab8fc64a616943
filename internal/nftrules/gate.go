// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"meshvm.io/meshvm/internal/nft"
)

// gate returns the rule for the start gate, which only a process in the pod can
// match. The container that delays the guest detects a verified table by a
// connection that is redirected back to it (package gate).
func (b *builder) gate() []Rule {
	g := b.plan.Gate
	if g == nil {
		return nil
	}
	return b.keep(Rule{
		Matches: []nft.Match{
			{Field: nft.FieldDestinationAddress, Value: "127.0.0.1"},
			lookup(nft.FieldTCPDestinationPort, SetGate),
		},
		Statement: nft.Statement{Kind: nft.StatementRedirect, Port: g.AnswerPort},
		Comment:   "gate: shows the pod's gate container that these rules are verified",
	})
}
