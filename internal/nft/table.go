// SPDX-License-Identifier: Apache-2.0

package nft

import "slices"

// FamilyInet is the nftables family that sees IPv4 and IPv6. Its nat chains
// need Linux 5.2.
const FamilyInet = "inet"

// The families of addresses, as statements spell them.
const (
	FamilyIPv4 = "ip"
	FamilyIPv6 = "ip6"
)

// Table is an nftables table as data: what Build wants and what Kernel.Read
// found. Equal tables have equal Text.
type Table struct {
	// Family is the address family, FamilyInet for our table.
	Family string
	// Name is the table's name.
	Name string
	// Flags are the table's flags by their nft names; ours has none. A
	// "dormant" table is in place and does nothing.
	Flags []string
	// Sets are the named sets in order of creation.
	Sets []Set
	// Chains are the chains in order of creation.
	Chains []Chain
}

// Set is a named set. All sets are interval sets, so that a later live change
// can add a range as well as a single element.
type Set struct {
	// Name is unique in the table.
	Name string
	// Type is that of the elements.
	Type DataType
	// Flags are the set's flags by their nft names, ours "interval": an
	// element may be a range.
	Flags []string
	// Elements are in ascending order and in nft's spelling: "8080",
	// "8000-8010", "10.0.0.0/8".
	Elements []string
}

// FlagInterval is the flag of a set whose elements may be ranges.
const FlagInterval = "interval"

// IsInterval reports whether elements of the set may be ranges.
func (s Set) IsInterval() bool { return slices.Contains(s.Flags, FlagInterval) }

// Hook is the place of a base chain in the packet's way (nft(8), ADDRESS
// FAMILIES).
type Hook string

// Hooks of the family inet that base chains may have.
const (
	HookPrerouting  Hook = "prerouting"
	HookInput       Hook = "input"
	HookForward     Hook = "forward"
	HookOutput      Hook = "output"
	HookPostrouting Hook = "postrouting"
)

// Chain is a base chain, or a regular chain when Hook is empty.
type Chain struct {
	// Name is unique in the table.
	Name string
	// Type is "nat" or "filter"; empty for a regular chain.
	Type string
	// Hook is the place of a base chain.
	Hook Hook
	// Priority orders the base chains of a hook, lowest first.
	Priority int32
	// Policy is "accept" or "drop"; empty for a regular chain.
	Policy string
	// Rules are in order of evaluation.
	Rules []Rule
}

// Rule is one rule: all matches must hold, then the statement is done.
type Rule struct {
	// Matches are in order of evaluation, without those that nft leaves out
	// of its listing because another match implies them ("ip daddr" implies
	// "meta nfproto ipv4").
	Matches []Match
	// Counter reports whether the rule counts packets.
	Counter bool
	// Statement is what happens to a matching packet.
	Statement Statement
	// Comment describes in words what the rule does; at most MaxComment bytes.
	Comment string
}

// MaxComment is the length in bytes that nft accepts for a comment
// (libnftables, NFTNL_UDATA_COMMENT_MAXLEN is 128 with the final zero).
const MaxComment = 127

// Field is a property of a packet, in nft's spelling.
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
	// FieldConntrackState is the packet's state in connection tracking; its
	// values are flags, of which one must be set.
	FieldConntrackState Field = "ct state"
	// FieldPacketMark is the packet's mark, and FieldConntrackMark that of its
	// connection; both are matched under a mask.
	FieldPacketMark    Field = "meta mark"
	FieldConntrackMark Field = "ct mark"
	// FieldUnrecognised stands for expressions of a kernel rule that this
	// package never writes; Value shows them apart. It is in no table that
	// Build makes.
	FieldUnrecognised Field = "unrecognised"
)

// Match compares a field with a value or looks it up in a set.
type Match struct {
	// Field is what is looked at.
	Field Field
	// Not inverts the match.
	Not bool
	// Value is one value or one prefix in nft's spelling without quotes;
	// empty when Set is given.
	Value string
	// Mask is what of a mark is compared, as Value is spelled; it is empty for
	// all other fields.
	Mask string
	// Set is the name of a set of the same table.
	Set string
}

// StatementKind is what a rule does in the end.
type StatementKind string

// Statements.
const (
	// StatementNone only counts.
	StatementNone StatementKind = ""
	// StatementDNAT sends the connection to another address, same port.
	StatementDNAT StatementKind = "dnat"
	// StatementSNAT gives the connection another source address.
	StatementSNAT StatementKind = "snat"
	// StatementRedirect sends the connection to a port of the pod itself.
	StatementRedirect StatementKind = "redirect"
	// StatementKeep is a null binding, "dnat ip to ip daddr" or, for IPv6,
	// "dnat ip6 to ip6 daddr": the connection
	// keeps its destination and counts as decided, so that nat chains of
	// other tables on the same hook leave it alone. A mere accept would not
	// do that: the next base chain would still be asked.
	StatementKeep StatementKind = "keep"
	// StatementDrop drops the packet.
	StatementDrop StatementKind = "drop"
	// StatementAccept ends our chain of the hook; those of others still run.
	StatementAccept StatementKind = "accept"
	// StatementZone has connection tracking keep the flow in a separate zone of its
	// own. The first rule that sets one wins.
	StatementZone StatementKind = "zone"
	// StatementMark marks the packet.
	StatementMark StatementKind = "mark"
	// StatementConntrackMark adds bits to the mark of the connection.
	StatementConntrackMark StatementKind = "ct mark"
)

// Statement is the last part of a rule.
type Statement struct {
	// Kind specifies which.
	Kind StatementKind
	// Family is that of StatementKeep, FamilyIPv4 or FamilyIPv6.
	Family string
	// Address is the new address of StatementDNAT and StatementSNAT.
	Address string
	// Port is the port of StatementRedirect, and the new port of
	// StatementDNAT; 0 leaves the port as it is.
	Port uint16
	// Zone is the zone of StatementZone.
	Zone uint16
	// Mark is the mark of StatementMark, and what StatementConntrackMark adds.
	Mark uint32
}

// Set returns the set of that name, nil if there is none.
func (t Table) Set(name string) *Set {
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}

// RuleCount is the number of rules in all chains.
func (t Table) RuleCount() int {
	n := 0
	for _, c := range t.Chains {
		n += len(c.Rules)
	}
	return n
}
