// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Style is the notation of a version of nft.
type Style int

const (
	// StylePortable is the notation of nft 1.0.6 (Debian 12). All later
	// versions can read it, so it is the canonical notation.
	StylePortable Style = iota
	// StyleNFT11 is the notation of nft 1.1 (Debian 13). It also uses the name
	// dstnat for priorities of the output hook, which nft 1.0 cannot read.
	StyleNFT11
)

// Text returns the table in the format of `nft -s list table inet meshvm`,
// without counters and with a trailing newline.
func (t Table) Text() string { return t.TextIn(StylePortable) }

// Digest returns the SHA-256 digest of Text in lower-case hexadecimal. It does
// not depend on the version of nft.
func (t Table) Digest() string {
	sum := sha256.Sum256([]byte(t.Text()))
	return hex.EncodeToString(sum[:])
}

// TextIn returns Text in the notation of a version of nft.
func (t Table) TextIn(s Style) string {
	blocks := make([]string, 0, len(t.Sets)+len(t.Chains)+1)
	if len(t.Flags) > 0 {
		blocks = append(blocks, "\tflags "+strings.Join(t.Flags, ",")+"\n")
	}
	for _, set := range t.Sets {
		blocks = append(blocks, set.text())
	}
	for _, chain := range t.Chains {
		blocks = append(blocks, chain.text(s))
	}
	return fmt.Sprintf("table %s %s {\n%s}\n", t.Family, t.Name, strings.Join(blocks, "\n"))
}

func (s Set) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n", s.Name, s.Type)
	if len(s.Flags) > 0 {
		fmt.Fprintf(&b, "\t\tflags %s\n", strings.Join(s.Flags, ","))
	}
	if len(s.Elements) > 0 {
		fmt.Fprintf(&b, "\t\telements = { %s }\n", s.elementText())
	}
	b.WriteString("\t}\n")
	return b.String()
}

// elementsPerLine is the number of elements per line in nft. Other types have
// one element per line.
var elementsPerLine = map[DataType]int{TypePort: 5, TypeIPv4Address: 2}

// elementText breaks lines like nft (src/expression.c, calculate_delim).
func (s Set) elementText() string {
	perLine := max(1, elementsPerLine[s.Type])
	var b strings.Builder
	for i, e := range s.Elements {
		switch {
		case i == 0:
		case i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(e)
	}
	return b.String()
}

func (c Chain) text(s Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if c.Hook != "" {
		fmt.Fprintf(&b, "\t\t%s\n", c.hookText(s))
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.Text())
	}
	b.WriteString("\t}\n")
	return b.String()
}

func (c Chain) hookText(s Style) string {
	return fmt.Sprintf("type %s hook %s priority %s; policy %s;", c.Type, c.Hook, priorityText(c.Hook, c.Priority, s), c.Policy)
}

// priorityReach is the maximum difference from a named priority for which nft
// uses the name (src/rule.c, prio2str).
const priorityReach = 10

// priorityNames are the named priorities of the family inet (nft(8), CHAINS).
var priorityNames = []struct {
	name  string
	value int32
}{
	{"raw", -300}, {"mangle", -150}, {"dstnat", -100}, {"filter", 0}, {"security", 50}, {"srcnat", 100},
}

func priorityText(h Hook, priority int32, s Style) string {
	for _, p := range priorityNames {
		offset := priority - p.value
		if offset < -priorityReach || offset > priorityReach || !priorityNamed(p.name, h, s) {
			continue
		}
		switch {
		case offset < 0:
			return fmt.Sprintf("%s - %d", p.name, -offset)
		case offset > 0:
			return fmt.Sprintf("%s + %d", p.name, offset)
		default:
			return p.name
		}
	}
	return strconv.Itoa(int(priority))
}

// priorityNamed reports whether nft uses the name at the hook.
func priorityNamed(name string, h Hook, s Style) bool {
	switch name {
	case "dstnat":
		return h == HookPrerouting || s == StyleNFT11 && h == HookOutput
	case "srcnat":
		return h == HookPostrouting
	default:
		return true
	}
}

// Text returns the rule in nft's notation on one line, without counters.
func (r Rule) Text() string {
	words := make([]string, 0, len(r.Matches)+3)
	for _, m := range r.Matches {
		words = append(words, m.text())
	}
	if r.Counter {
		words = append(words, "counter")
	}
	if s := r.Statement.text(); s != "" {
		words = append(words, s)
	}
	if r.Comment != "" {
		words = append(words, `comment "`+r.Comment+`"`)
	}
	return strings.Join(words, " ")
}

func (m Match) text() string {
	value := m.Value
	switch {
	case m.Set != "":
		value = "@" + m.Set
	case fieldTypes[m.Field] == TypeInterfaceName:
		value = `"` + value + `"`
	}
	switch {
	case m.Not:
		value = "!= " + value
	case m.Mask != "":
		value = "== " + value
	}
	if m.Mask != "" {
		value = "& " + m.Mask + " " + value
	}
	return string(m.Field) + " " + value
}

func (s Statement) text() string {
	switch s.Kind {
	case StatementDNAT, StatementSNAT:
		return fmt.Sprintf("%s %s to %s", s.Kind, FamilyOf(s.Address), s.target())
	case StatementKeep:
		return fmt.Sprintf("dnat %s to %s daddr", s.Family, s.Family)
	case StatementRedirect:
		return "redirect to :" + strconv.Itoa(int(s.Port))
	case StatementZone:
		return "ct zone set " + strconv.Itoa(int(s.Zone))
	case StatementMark:
		return string(FieldPacketMark) + " set " + MarkText(s.Mark)
	case StatementConntrackMark:
		return string(FieldConntrackMark) + " set " + string(FieldConntrackMark) + " | " + MarkText(s.Mark)
	case StatementDrop, StatementAccept:
		return string(s.Kind)
	case StatementNone:
		return ""
	default:
		return string(FieldUnrecognized) + " " + string(s.Kind)
	}
}

// target returns the new address, with the new port if one is set.
func (s Statement) target() string {
	switch {
	case s.Port == 0:
		return s.Address
	case FamilyOf(s.Address) == FamilyIPv6:
		return "[" + s.Address + "]:" + strconv.Itoa(int(s.Port))
	default:
		return s.Address + ":" + strconv.Itoa(int(s.Port))
	}
}

// FamilyOf returns the nftables family of an address.
func FamilyOf(address string) string {
	if strings.Contains(address, ":") {
		return FamilyIPv6
	}
	return FamilyIPv4
}
