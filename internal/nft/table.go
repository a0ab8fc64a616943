// SPDX-License-Identifier: Apache-2.0

package nft

import "slices"

// FamilyInet is the nftables family for IPv4 and IPv6. Its nat chains require
// Linux 5.2.
const FamilyInet = "inet"

// Address families as they are written in statements.
const (
	FamilyIPv4 = "ip"
	FamilyIPv6 = "ip6"
)

// Table is the model of an nftables table: the result of Build or of reading
// the kernel. Equal tables have equal Text.
type Table struct {
	// Family is the nftables family, FamilyInet for meshvm's table.
	Family string
	// Name is the name of the table.
	Name string
	// Flags are the names of the table's flags in nft. meshvm's table does not
	// have flags. A table with the flag "dormant" has no effect.
	Flags []string
	// Sets are the named sets in order of creation.
	Sets []Set
	// Chains are the chains in order of creation.
	Chains []Chain
}

// Set is a named set. All sets of meshvm are interval sets, so that ranges and
// single elements can be added later.
type Set struct {
	// Name is unique in the table.
	Name string
	// Type is the type of the elements.
	Type DataType
	// Flags are the names of the set's flags in nft. Sets of meshvm have the
	// flag "interval", which allows ranges.
	Flags []string
	// Elements are in ascending order and in nft's notation: "8080",
	// "8000-8010", "10.0.0.0/8".
	Elements []string
}

// FlagInterval is the flag of a set whose elements can be ranges.
const FlagInterval = "interval"

// IsInterval reports whether the elements of the set can be ranges.
func (s Set) IsInterval() bool { return slices.Contains(s.Flags, FlagInterval) }

// Hook is the position of a base chain in packet processing (nft(8), ADDRESS
// FAMILIES).
type Hook string

// Hooks of base chains in the family inet.
const (
	HookPrerouting  Hook = "prerouting"
	HookInput       Hook = "input"
	HookForward     Hook = "forward"
	HookOutput      Hook = "output"
	HookPostrouting Hook = "postrouting"
)

// Chain is a base chain, or a regular chain if Hook is empty.
type Chain struct {
	// Name is unique in the table.
	Name string
	// Type is "nat" or "filter". It is empty for a regular chain.
	Type string
	// Hook is the hook of a base chain.
	Hook Hook
	// Priority determines the order of base chains at a hook, lowest first.
	Priority int32
	// Policy is "accept" or "drop". It is empty for a regular chain.
	Policy string
	// Rules are in order of evaluation.
	Rules []Rule
}

// Rule is a rule. The statement is executed if all matches hold.
type Rule struct {
	// Matches are in order of evaluation. They do not include matches that nft
	// omits because another match implies them ("ip daddr" implies "meta
	// nfproto ipv4").
	Matches []Match
	// Counter reports whether the rule counts packets.
	Counter bool
	// Statement is executed for a matching packet.
	Statement Statement
	// Comment describes the rule in at most MaxComment bytes.
	Comment string
}

// MaxComment is the maximum length of a comment in nft in bytes (libnftables,
// NFTNL_UDATA_COMMENT_MAXLEN is 128 including the terminating zero).
const MaxComment = 127

// Field is a property of a packet in nft's notation.
type Field string

// Fields that rules match.
const (
	FieldInputInterface     Field = "iifname"
	FieldOutputInterface    Field = "oifname"
	FieldNFProtocol         Field = "meta nfproto"
	FieldTransportProtocol  Field = "meta l4proto"
	FieldSourceAddress      Field = "ip saddr"
	FieldDestinationAddress Field = "ip daddr"
	FieldSourceIPv6         Field = "ip6 saddr"
	FieldDestinationIPv6    Field = "ip6 daddr"
	FieldTCPDestinationPort Field = "tcp dport"
	FieldUDPDestinationPort Field = "udp dport"
	// FieldConntrackState is the connection tracking state of the packet. Its
	// values are flags, of which at least one must be set.
	FieldConntrackState Field = "ct state"
	// FieldPacketMark is the mark of the packet and FieldConntrackMark is the
	// mark of its connection. Both are matched with a mask.
	FieldPacketMark    Field = "meta mark"
	FieldConntrackMark Field = "ct mark"
	// FieldUnrecognized represents expressions of a kernel rule that this
	// package never writes. Value distinguishes them. Tables of Build do not
	// contain it.
	FieldUnrecognized Field = "unrecognized"
)

// Match compares a field with a value or looks it up in a set.
type Match struct {
	// Field is the field that is compared.
	Field Field
	// Not inverts the match.
	Not bool
	// Value is one value or one prefix in nft's notation without quotes. It is
	// empty if Set is set.
	Value string
	// Mask contains the bits of a mark to compare, in the notation of Value. It
	// is empty for other fields.
	Mask string
	// Set is the name of a set of the same table.
	Set string
}

// StatementKind is the kind of a statement.
type StatementKind string

// Statements.
const (
	// StatementNone only counts.
	StatementNone StatementKind = ""
	// StatementDNAT translates the destination address and keeps the port.
	StatementDNAT StatementKind = "dnat"
	// StatementSNAT translates the source address.
	StatementSNAT StatementKind = "snat"
	// StatementRedirect redirects the connection to a local port of the pod.
	StatementRedirect StatementKind = "redirect"
	// StatementKeep is a null binding, "dnat ip to ip daddr" or, for IPv6,
	// "dnat ip6 to ip6 daddr". The connection keeps its destination but has a
	// NAT binding, so nat chains of other tables on the same hook skip it. An
	// accept statement would not have this effect: the next base chain would
	// still be evaluated.
	StatementKeep StatementKind = "keep"
	// StatementDrop drops the packet.
	StatementDrop StatementKind = "drop"
	// StatementAccept ends the evaluation of this base chain. Base chains of
	// other tables are still evaluated.
	StatementAccept StatementKind = "accept"
	// StatementZone assigns a conntrack zone to the flow. The first rule that
	// assigns a zone takes precedence.
	StatementZone StatementKind = "zone"
	// StatementMark sets the mark of the packet.
	StatementMark StatementKind = "mark"
	// StatementConntrackMark sets bits in the mark of the connection.
	StatementConntrackMark StatementKind = "ct mark"
)

// Statement is the last part of a rule.
type Statement struct {
	// Kind is the kind of the statement.
	Kind StatementKind
	// Family is the family of StatementKeep, FamilyIPv4 or FamilyIPv6.
	Family string
	// Address is the new address of StatementDNAT and StatementSNAT.
	Address string
	// Port is the port of StatementRedirect or the new port of StatementDNAT. 0
	// keeps the port.
	Port uint16
	// Zone is the zone of StatementZone.
	Zone uint16
	// Mark is the mark that StatementMark sets, or the bits that
	// StatementConntrackMark sets.
	Mark uint32
}

// Set returns the set with the name, or nil if it does not exist.
func (t Table) Set(name string) *Set {
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}

// RuleCount returns the number of rules in all chains.
func (t Table) RuleCount() int {
	n := 0
	for _, c := range t.Chains {
		n += len(c.Rules)
	}
	return n
}
