// SPDX-License-Identifier: Apache-2.0

// Package kernel reads and writes an nftables table in the kernel over netlink
// (Linux, net/netfilter/nf_tables_api.c). It writes a table in one transaction
// and decodes a dump into the same model, so that a table can be compared with
// the table in the kernel.
package kernel

import "errors"

// Errors of Handle. Test them with errors.Is.
var (
	// ErrNoTable means that the table does not exist in the network namespace.
	ErrNoTable = errors.New("table is missing")
	// ErrUnsupported means that the kernel and its modules do not support the
	// table: no nf_tables, no nat chains in the family inet (Linux before 5.2),
	// or no redirect or nat expression.
	ErrUnsupported = errors.New("the kernel does not support the rules")
	// ErrBusy means that other processes changed the rules during every attempt
	// to read them.
	ErrBusy = errors.New("the rules changed while they were read")
	// ErrChanged means that another process changed the ruleset of the network
	// namespace since the given generation.
	ErrChanged = errors.New("the rules changed since they were read")
)

// Handle reads and writes one table of the family inet in the network namespace
// of the calling thread. It is stateless: every call opens a netlink socket. It
// requires CAP_NET_ADMIN in the user namespace that owns the network namespace.
type Handle struct {
	// Table is the name of the table.
	Table string
}
