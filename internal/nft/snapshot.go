// SPDX-License-Identifier: Apache-2.0

package nft

// Snapshot is the state of the table in the kernel at one point in time.
type Snapshot struct {
	// Table is the table without counters.
	Table Table
	// Counters contains one entry for each rule with a counter, in order.
	Counters []RuleCounter
	// Generation is the generation of the ruleset (linux/netfilter/nf_tables.h,
	// NFTA_GEN_ID). Every change of a rule in the network namespace changes it.
	Generation uint32
}

// RuleCounter contains the counts of a rule since it was written. Only the
// first packet of a connection traverses nat chains.
type RuleCounter struct {
	// Chain is the name of the chain.
	Chain string
	// Index is the position of the rule in its chain, from 0.
	Index int
	// Packets is the number of packets.
	Packets uint64
	// Bytes is the length of the packets including network headers.
	Bytes uint64
}
