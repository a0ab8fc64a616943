// SPDX-License-Identifier: Apache-2.0

// Package kernel reads and writes an nftables table in the kernel, over netlink
// (Linux, net/netfilter/nf_tables_api.c). It writes a table in one transaction
// and decodes a dump into the same data, so that a table can be compared with
// the one that the kernel holds.
package kernel

import "errors"

// Errors of Handle, to be tested with errors.Is.
var (
	// ErrNoTable means that the network namespace has no such table.
	ErrNoTable = errors.New("table is missing")
	// ErrUnsupported means that the kernel, or the kernel modules that can
	// be loaded, cannot hold the table: no nf_tables, no nat chains in the
	// family inet (Linux before 5.2), no redirect or nat expression.
	ErrUnsupported = errors.New("the kernel cannot hold the rules")
	// ErrBusy means that other writers changed the rules during every
	// attempt to read them.
	ErrBusy = errors.New("the rules changed while they were read")
	// ErrChanged means that another writer changed rules of the namespace
	// since the given generation.
	ErrChanged = errors.New("the rules changed since they were read")
)

// Handle reads and writes one table of the family inet in the network namespace
// of the calling thread. It keeps no state: every call opens its own netlink
// socket. It needs CAP_NET_ADMIN in the user namespace that owns the network
// namespace.
type Handle struct {
	// Table is the name of the table.
	Table string
}
