// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"

	"meshvm.io/meshvm/internal/nft"
)

// TableName is the name of meshvm's table in the family inet.
const TableName = "meshvm"

// Rule is a rule with its purpose.
type Rule struct {
	// Matches, Statement and Comment are the nftables parts of the rule. Every
	// rule has a counter.
	Matches   []nft.Match
	Statement nft.Statement
	Comment   string
	// Defects and Total are the purpose of the rule.
	Defects []Defect
	Total   Total
}

// Purpose is the part of a rule that is not stored in the kernel.
type Purpose struct {
	// Defects are the defects of the stock rules that the rule corrects.
	Defects []Defect
	// Total is the total to which the counter of the rule belongs, if any.
	Total Total
}

// Table is the table of a plan.
type Table struct {
	nft.Table
	// Purposes contains the purpose of each rule, by the name of the chain and
	// the index of the rule.
	Purposes map[string][]Purpose
}

// Shut returns the table before verification: the set of the gate is empty, so
// the rule of the gate does not match. Without a gate it returns the table
// itself.
func (t Table) Shut() Table {
	t.Sets = slices.Clone(t.Sets)
	if s := t.Set(SetGate); s != nil {
		s.Elements = nil
	}
	return t
}

// Gate is the set whose element opens the gate. It is nil for a table without a
// gate.
func (t Table) Gate() *nft.Set { return t.Set(SetGate) }
