// SPDX-License-Identifier: Apache-2.0

// Package nft is a model of nftables tables: tables, sets, chains, rules, their
// values and their text, and the comparison and evaluation of tables. It is pure
// and independent of meshvm. Package nftrules builds meshvm's table from it, and
// package nft/kernel writes and reads tables.
//
// A rule is described once, by its matches and its statement. The netlink
// expressions and the text in nft's spelling are both made from that description,
// and a dump of the kernel is decoded into it, so that "equal" has the same
// meaning in all three.
package nft
