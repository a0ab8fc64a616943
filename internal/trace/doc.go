// SPDX-License-Identifier: Apache-2.0

// Package trace follows the first packets of a described flow through the
// network namespace of a pod and describes in words where the flow ended.
//
// It adds one small table, inet meshvm_trace, whose two chains run
// before all others and switch on the kernel's rule tracing for the packets that
// match (nft(8), "meta nftrace set 1"). The kernel then reports every rule that
// such a packet matches, whichever program wrote it (linux/netfilter/nf_tables.h,
// NFT_MSG_TRACE). Conntrack's events describe what became of the connection: where
// its packets go after all translations, and whether there was an answer.
//
//	Request --> own table --> trace messages ----> Collector --> Result
//	            rule dump --> handle to text -----/   |
//	            conntrack --> events -----------------+
//
// A redirected connection ends at the proxy, which opens a second one. The
// second leg is traced too: it is a new connection of the proxy's user, joined
// to the first by the destination that the first had before its redirection.
//
// Request, Result, Collector and all that judges and words are pure; only
// files named _linux.go talk to a kernel.
package trace
