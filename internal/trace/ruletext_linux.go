// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
)

// ruleText returns a rule in nft's notation. It supports the expressions in
// rules of KubeVirt, Istio and meshvm, and shows the names of other expressions
// in brackets. sets maps names of anonymous sets to their elements in the
// kernel's representation. Counters are omitted.
func ruleText(exprs []expr.Any, sets map[string][][]byte) string {
	w := ruleWords{registers: map[uint32]operand{}, sets: sets}
	for _, e := range exprs {
		w.expression(e)
	}
	return strings.Join(w.parts, " ")
}

// operand is the content of a register: a field of the packet, or a value.
type operand struct {
	field string
	mask  []byte
	value []byte
}

// ruleWords builds the text of one rule.
type ruleWords struct {
	registers map[uint32]operand
	sets      map[string][][]byte
	parts     []string
	// transport is the protocol that a previous match requires.
	transport string
}

func (w *ruleWords) add(format string, args ...any) {
	w.parts = append(w.parts, fmt.Sprintf(format, args...))
}

func (w *ruleWords) expression(e expr.Any) {
	switch e := e.(type) {
	case *expr.Counter:
	case *expr.Meta:
		w.meta(e)
	case *expr.Payload:
		w.registers[e.DestRegister] = operand{field: w.payloadField(e)}
	case *expr.Ct:
		w.ct(e)
	case *expr.Bitwise:
		o := w.registers[e.SourceRegister]
		o.mask = e.Mask
		w.registers[e.DestRegister] = o
	case *expr.Immediate:
		w.registers[e.Register] = operand{value: e.Data}
	case *expr.Cmp:
		w.compare(e)
	case *expr.Range:
		f := w.registers[e.Register].field
		w.match(f, not(e.Op)+value(f, e.FromData)+"-"+value(f, e.ToData))
	case *expr.Lookup:
		w.lookup(e)
	case *expr.Match:
		w.parts = append(w.parts, matchText(e))
	default:
		w.parts = append(w.parts, w.statement(e))
	}
}

// statement returns the text of a statement.
func (w *ruleWords) statement(e expr.Any) string {
	switch e := e.(type) {
	case *expr.Verdict:
		return verdictText(e)
	case *expr.NAT:
		return w.nat(e)
	case *expr.Redir:
		return "redirect" + w.toPort(e.RegisterProtoMin)
	case *expr.Masq:
		return "masquerade"
	case *expr.Target:
		return targetText(e)
	case *expr.Reject:
		return "reject"
	case *expr.Limit:
		return fmt.Sprintf("limit rate %d/%ds", e.Rate, uint64(e.Unit))
	case *expr.Notrack:
		return "notrack"
	default:
		return "[" + strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr.")) + "]"
	}
}

var metaFields = map[expr.MetaKey]string{
	expr.MetaKeyIIFNAME: "iifname", expr.MetaKeyOIFNAME: "oifname", expr.MetaKeyIIF: "iif", expr.MetaKeyOIF: "oif",
	expr.MetaKeyL4PROTO: "meta l4proto", expr.MetaKeyNFPROTO: "meta nfproto", expr.MetaKeySKUID: "meta skuid",
	expr.MetaKeySKGID: "meta skgid", expr.MetaKeyMARK: "meta mark", expr.MetaKeyNFTRACE: "meta nftrace",
}

func (w *ruleWords) meta(e *expr.Meta) {
	field, ok := metaFields[e.Key]
	if !ok {
		field = fmt.Sprintf("meta key %d", e.Key)
	}
	if e.SourceRegister {
		w.add("%s set %s", field, w.source(field, e.Register))
		return
	}
	w.registers[e.Register] = operand{field: field}
}

var ctFields = map[expr.CtKey]string{
	expr.CtKeySTATE: "ct state", expr.CtKeyDIRECTION: "ct direction", expr.CtKeySTATUS: "ct status",
	expr.CtKeyMARK: "ct mark", expr.CtKeyZONE: "ct zone",
}

func (w *ruleWords) ct(e *expr.Ct) {
	field, ok := ctFields[e.Key]
	if !ok {
		field = fmt.Sprintf("ct key %d", e.Key)
	}
	if e.SourceRegister {
		w.add("%s set %s", field, w.source(field, e.Register))
		return
	}
	w.registers[e.Register] = operand{field: field}
}

// source returns the text of a register.
func (w *ruleWords) source(field string, register uint32) string {
	if o := w.registers[register]; o.field == "" {
		return value(field, o.value)
	}
	return w.registers[register].field
}

// headerPlace is a position in a header.
type headerPlace struct {
	base   expr.PayloadBase
	offset uint32
}

// headerFields are the fields of IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC
// 9293) and UDP (RFC 768), with the length that distinguishes them from other
// fields.
var headerFields = map[headerPlace]struct {
	name     string
	min, max uint32
}{
	{expr.PayloadBaseNetworkHeader, 12}:   {"ip saddr", 1, 4},
	{expr.PayloadBaseNetworkHeader, 16}:   {"ip daddr", 1, 4},
	{expr.PayloadBaseNetworkHeader, 8}:    {"ip6 saddr", 5, 16},
	{expr.PayloadBaseNetworkHeader, 24}:   {"ip6 daddr", 1, 16},
	{expr.PayloadBaseTransportHeader, 0}:  {"sport", 2, 2},
	{expr.PayloadBaseTransportHeader, 2}:  {"dport", 2, 2},
	{expr.PayloadBaseTransportHeader, 13}: {"tcp flags", 1, 1},
}

func (w *ruleWords) payloadField(e *expr.Payload) string {
	f, ok := headerFields[headerPlace{e.Base, e.Offset}]
	switch {
	case !ok || e.Len < f.min || e.Len > f.max:
		return fmt.Sprintf("@%d,%d,%d", e.Base, e.Offset*8, e.Len*8)
	case strings.HasSuffix(f.name, "port") && w.transport == "":
		return "th " + f.name
	case strings.HasSuffix(f.name, "port"):
		return w.transport + " " + f.name
	default:
		return f.name
	}
}

func not(op expr.CmpOp) string {
	switch op {
	case expr.CmpOpEq:
		return ""
	case expr.CmpOpNeq:
		return "!= "
	case expr.CmpOpLt:
		return "< "
	case expr.CmpOpLte:
		return "<= "
	case expr.CmpOpGt:
		return "> "
	case expr.CmpOpGte:
		return ">= "
	default:
		return "? "
	}
}

func (w *ruleWords) compare(e *expr.Cmp) {
	o := w.registers[e.Register]
	text := value(o.field, e.Data)
	switch bits, prefix := prefixLength(o.mask); {
	case len(o.mask) == 0:
	case strings.HasSuffix(o.field, "addr") && prefix:
		text = fmt.Sprintf("%s/%d", text, bits)
	default:
		op := "=="
		if e.Op != expr.CmpOpEq {
			op = strings.TrimSpace(not(e.Op))
		}
		w.add("%s & 0x%x %s 0x%x", o.field, o.mask, op, e.Data)
		return
	}
	if o.field == "meta l4proto" && e.Op == expr.CmpOpEq {
		w.transport = text
	}
	w.match(o.field, not(e.Op)+text)
}

// match adds a match and removes a match that it implies, like nft.
func (w *ruleWords) match(field, text string) {
	implied := ""
	switch {
	case strings.HasPrefix(field, "ip "):
		implied = "meta nfproto ipv4"
	case strings.HasPrefix(field, "ip6 "):
		implied = "meta nfproto ipv6"
	case strings.HasPrefix(field, w.transport+" "):
		implied = "meta l4proto " + w.transport
	}
	if n := len(w.parts); n > 0 && w.parts[n-1] == implied {
		w.parts = w.parts[:n-1]
	}
	w.add("%s %s", field, text)
}

// prefixLength returns the prefix length of a mask, if the mask is a prefix.
func prefixLength(mask []byte) (int, bool) {
	bits, ended := 0, false
	for _, b := range mask {
		for i := 7; i >= 0; i-- {
			one := b>>i&1 == 1
			if one && ended {
				return 0, false
			}
			if one {
				bits++
			}
			ended = !one
		}
	}
	return bits, true
}

func (w *ruleWords) lookup(e *expr.Lookup) {
	field := w.registers[e.SourceRegister].field
	text := "@" + e.SetName
	if elements, ok := w.sets[e.SetName]; ok {
		texts := make([]string, len(elements))
		for i, b := range elements {
			texts[i] = value(field, b)
		}
		text = "{ " + strings.Join(texts, ", ") + " }"
	}
	if e.Invert {
		text = "!= " + text
	}
	w.match(field, text)
}

func verdictText(e *expr.Verdict) string {
	switch e.Kind {
	case expr.VerdictJump:
		return "jump " + e.Chain
	case expr.VerdictGoto:
		return "goto " + e.Chain
	default:
		return Event{Kind: EventRule, Verdict: int32(e.Kind)}.verdictWords() //nolint:gosec // Verdicts are small numbers (linux/netfilter.h).
	}
}

func (w *ruleWords) nat(e *expr.NAT) string {
	kind, field := "snat", "ip addr"
	if e.Type == expr.NATTypeDestNAT {
		kind = "dnat"
	}
	family := " ip"
	if e.Family == familyIPv6 {
		family, field = " ip6", "ip6 addr"
	}
	text := kind + family + " to"
	if e.RegAddrMin != 0 {
		text += " " + w.source(field, e.RegAddrMin)
	}
	if e.RegProtoMin != 0 {
		text += strings.TrimPrefix(w.toPort(e.RegProtoMin), " to ")
	}
	return text
}

func (w *ruleWords) toPort(register uint32) string {
	if register == 0 {
		return ""
	}
	return " to :" + w.source("port", register)
}
