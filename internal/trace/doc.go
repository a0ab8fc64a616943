// SPDX-License-Identifier: Apache-2.0

// Package trace follows the first packets of a flow through the network
// namespace of a pod and reports the path of the flow.
//
// It adds a small table, inet meshvm_trace, whose two chains run before all
// other chains and enable rule tracing for the packets that match (nft(8),
// "meta nftrace set 1"). The kernel then reports every rule that matches such a
// packet, regardless of its table (linux/netfilter/nf_tables.h, NFT_MSG_TRACE).
// Conntrack events report the state of the connection: its destination after
// all translations, and whether an answer was received.
//
//	Request --> own table --> trace messages ----> Collector --> Result
//	            rule dump --> handle to text -----/   |
//	            conntrack --> events -----------------+
//
// A redirected connection ends at the proxy, which opens a second connection.
// The second leg is also traced: it is a new connection of the proxy's user,
// and is correlated with the first leg by the destination of the first leg
// before its redirection.
//
// Request, Result, Collector and the evaluation are pure. Only files named
// _linux.go use the kernel.
package trace
