// SPDX-License-Identifier: Apache-2.0

package nft

// Snapshot is the table as the kernel had it at one moment.
type Snapshot struct {
	// Table is what was found.
	Table Table
	// Counters has one entry for each rule that counts, in order.
	Counters []RuleCounter
	// Generation is the kernel's number of the ruleset
	// (linux/netfilter/nf_tables.h, NFTA_GEN_ID); every change of any rule
	// in the network namespace gives another number.
	Generation uint32
}

// RuleCounter is what a rule has counted since it was written. Only the first
// packet of a connection passes nat chains.
type RuleCounter struct {
	// Chain is the chain's name.
	Chain string
	// Index is the rule's place in its chain, from 0.
	Index int
	// Packets is their number.
	Packets uint64
	// Bytes is their length, with network headers.
	Bytes uint64
}
