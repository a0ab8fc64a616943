// SPDX-License-Identifier: Apache-2.0

// Package nft is a model of nftables tables: tables, sets, chains, rules,
// values and their text, and the comparison and evaluation of tables. It is
// pure and independent of meshvm. Package nftrules builds meshvm's table with
// it, and package nft/kernel writes and reads tables.
//
// A rule is described once, by its matches and its statement. The netlink
// expressions and the text in nft's syntax are both derived from this
// description, and a dump of the kernel is decoded into it. Equality therefore
// has the same meaning for all three.
package nft
