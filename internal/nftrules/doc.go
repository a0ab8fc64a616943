// SPDX-License-Identifier: Apache-2.0

// Package nftrules turns a ruleio.Plan into the one nftables table of meshvm,
// writes it to the kernel, reads it back and says what differs.
//
// A Table is plain data. Build makes it from a plan and is pure; everything
// else is derived from it:
//
//	ruleio.Plan --Build--> Table --Text-----> what `nft -s list table` prints
//	                         |  \--Digest---> hex SHA-256 of that text
//	                         |
//	                         +--Kernel.Replace--> one netlink batch
//	                         |
//	              Compare <--+--Kernel.Read <---- netlink dump
//
// A rule is described once, by its matches and its statement (table.go). The
// expressions that the kernel gets and the text that people see are both made
// from that description, and a dump of the kernel is decoded back into it, so
// that "equal" means equal in all three.
//
// The table is ours alone. Its base chains run before those of KubeVirt and
// Istio, which sit at priority -100: of all nat chains on a hook, the first one
// that sets up a binding for a connection wins, and the others are skipped for
// that connection (Linux, net/netfilter/nf_nat_core.c, nf_nat_inet_fn).
package nftrules
