// SPDX-License-Identifier: Apache-2.0

// Package nfnetlink contains the parts of netfilter's netlink protocol that
// nf_tables and connection tracking share (linux/netfilter/nfnetlink.h): sockets,
// message headers, attributes, transactions, the generation of the ruleset, and
// the entries of the connection tracking table.
//
// All sockets belong to the network namespace of the thread that opened them.
package nfnetlink
