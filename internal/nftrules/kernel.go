// SPDX-License-Identifier: Apache-2.0

package nftrules

import "errors"

// Errors of Kernel, told apart with errors.Is.
var (
	// ErrNoTable means that the network namespace has no table of ours.
	ErrNoTable = errors.New("no table inet meshvm")
	// ErrUnsupported means that the kernel, or the kernel modules that can
	// be loaded, cannot hold the table: no nf_tables, no nat chains in the
	// family inet (Linux before 5.2), no redirect or nat expression.
	ErrUnsupported = errors.New("the kernel cannot hold the rules")
	// ErrBusy means that other writers changed the rules during every
	// attempt to read them.
	ErrBusy = errors.New("the rules changed while they were read")
	// ErrChanged means that somebody changed rules of the namespace since the
	// generation that was named.
	ErrChanged = errors.New("the rules changed since they were read")
)

// Kernel reads and writes the table in the network namespace of the calling
// thread. It keeps no state; every call has a netlink socket of its own. It
// needs CAP_NET_ADMIN in the user namespace that owns the network namespace.
type Kernel struct{}

// Snapshot is the table as the kernel had it at one moment.
type Snapshot struct {
	// Table is what was found.
	Table Table
	// Counters has one entry for each rule that counts, in order.
	Counters []RuleCounter
	// Generation is the kernel's number of the ruleset
	// (linux/netfilter/nf_tables.h, NFTA_GEN_ID); every change by anyone in
	// the network namespace gives another.
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
