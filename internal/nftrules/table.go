// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"

	"meshvm.io/meshvm/internal/nft"
)

// TableName is the name of meshvm's table, in the family inet.
const TableName = "meshvm"

// Rule is a rule with the reason for which it exists.
type Rule struct {
	// Matches, Statement and Comment are the rule's parts in nftables. Every
	// rule has a counter.
	Matches   []nft.Match
	Statement nft.Statement
	Comment   string
	// Defects and Total are the rule's purpose.
	Defects []Defect
	Total   Total
}

// Purpose is the part of a rule that the kernel does not keep.
type Purpose struct {
	// Defects are the defects of the stock rules that the rule repairs.
	Defects []Defect
	// Total is the sum that the rule's counter belongs to, empty for none.
	Total Total
}

// Table is the table of a plan.
type Table struct {
	nft.Table
	// Purposes has the purpose of each rule, by the chain's name and the
	// rule's place in the chain.
	Purposes map[string][]Purpose
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

// Gate is the set whose element opens the gate, nil for a table without a gate.
func (t Table) Gate() *nft.Set { return t.Set(SetGate) }
