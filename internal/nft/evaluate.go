// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"strconv"
	"strings"
)

// Packet contains the fields of the first packet of a flow that rules can
// match.
type Packet struct {
	// Input and Output are the names of the interfaces. They are empty if the
	// hook does not have one.
	Input, Output string
	// Source and Destination are the addresses.
	Source, Destination netip.Addr
	// Protocol is the number of the transport protocol.
	Protocol byte
	// DestinationPort is the destination port of TCP and UDP.
	DestinationPort uint16
}

// Evaluate returns the statement that terminates the evaluation of a packet in
// the base chains of a hook and type, or StatementNone if no rule matches. It
// supports all matches that Build uses. A rule with any other match does not
// match.
func (t Table) Evaluate(h Hook, chainType string, p Packet) Statement {
	for _, c := range t.Chains {
		if c.Hook != h || c.Type != chainType {
			continue
		}
		for _, r := range c.Rules {
			if r.Statement.Kind != StatementNone && t.matches(r, p) {
				return r.Statement
			}
		}
	}
	return Statement{}
}

func (t Table) matches(r Rule, p Packet) bool {
	for _, m := range r.Matches {
		if need, ok := implied[m.Field]; ok && !t.holds(need, p) {
			return false
		}
		if !t.holds(m, p) {
			return false
		}
	}
	return true
}

// holds reports whether the value of the packet's field matches.
func (t Table) holds(m Match, p Packet) bool {
	switch m.Field {
	case FieldInputInterface:
		return (p.Input == m.Value) != m.Not
	case FieldOutputInterface:
		return (p.Output == m.Value) != m.Not
	case FieldNFProtocol:
		return (familyName(p.Destination) == m.Value) != m.Not
	case FieldTransportProtocol:
		return (protocolNumbers[TypeInetProtocol][m.Value] == p.Protocol) != m.Not
	case FieldSourceAddress, FieldSourceIPv6:
		return t.hasAddress(m, p.Source) != m.Not
	case FieldDestinationAddress, FieldDestinationIPv6:
		return t.hasAddress(m, p.Destination) != m.Not
	case FieldTCPDestinationPort, FieldUDPDestinationPort:
		return t.hasPort(m, p.DestinationPort) != m.Not
	case FieldConntrackState:
		return m.Value == stateNames[stateNew] // It is the first packet.
	case FieldPacketMark, FieldConntrackMark:
		return false // The first packet from another host does not have a mark.
	case FieldUnrecognized:
		return false
	default:
		return false
	}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "ipv4"
	}
	return "ipv6"
}

// elements returns the values of a match.
func (t Table) elements(m Match) []string {
	if m.Set == "" {
		return []string{m.Value}
	}
	if s := t.Set(m.Set); s != nil {
		return s.Elements
	}
	return nil
}

func (t Table) hasPort(m Match, port uint16) bool {
	for _, e := range t.elements(m) {
		from, to, isRange := strings.Cut(e, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 == nil && err2 == nil && uint64(port) >= first && uint64(port) <= last {
			return true
		}
	}
	return false
}

func (t Table) hasAddress(m Match, a netip.Addr) bool {
	for _, e := range t.elements(m) {
		if prefix, err := netip.ParsePrefix(e); err == nil && prefix.Contains(a) {
			return true
		}
		if one, err := netip.ParseAddr(e); err == nil && one == a {
			return true
		}
		if from, to, isRange := strings.Cut(e, "-"); isRange {
			first, err1 := netip.ParseAddr(from)
			last, err2 := netip.ParseAddr(to)
			if err1 == nil && err2 == nil && !a.Less(first) && !last.Less(a) {
				return true
			}
		}
	}
	return false
}
