// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"

	"meshvm.io/meshvm/internal/ruleio"
)

// gate is the rule that only a process in the pod can meet: the container that
// holds back the guest until the table was verified sees it by a connection
// that comes back (package gate).
func (b *builder) gate() []Rule {
	g := b.plan.Gate
	if g == nil {
		g = &ruleio.Gate{}
	}
	return b.keep(Rule{
		Matches: []Match{
			{Field: FieldDestinationAddress, Value: "127.0.0.1"},
			lookup(FieldTCPDestinationPort, SetGate),
		},
		Statement: Statement{Kind: StatementRedirect, Port: g.AnswerPort},
		Comment:   "gate: the pod's own container sees that these rules were verified",
	})
}

// Shut is the table before it was verified: the set of its gate is empty, so
// that the gate's rule matches nothing. Without a gate it is the table itself.
func (t Table) Shut() Table {
	t.Sets = slices.Clone(t.Sets)
	if s := t.Set(SetGate); s != nil {
		s.Elements = nil
	}
	return t
}

// HasGate says whether the table has one.
func (t Table) HasGate() bool { return t.Set(SetGate) != nil }
