// SPDX-License-Identifier: Apache-2.0

// Package nftrules builds meshvm's nftables table from a plan.
//
//	ruleio.NATPlan --Build--> Table --Text-----> the output of `nft -s list table`
//	                         |  \--Digest---> hex SHA-256 of that text
//	                         |
//	                         +--kernel.Handle.Replace--> one netlink batch
//	                         |
//	          nft.Compare <--+--kernel.Handle.Read <---- netlink dump
//
// Build is pure. The purpose of each rule (the defects that it repairs, the total
// that its counter belongs to) accompanies the table.
//
// No other program writes to the table. Its base chains run before the chains of
// KubeVirt and Istio, which have priority -100: of all nat chains on a hook, the
// first one that sets up a binding for a connection wins, and the others are
// skipped for that connection (Linux, net/netfilter/nf_nat_core.c,
// nf_nat_inet_fn).
package nftrules
