// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nft"
)

// kernelRule is a rule of a dump.
type kernelRule struct {
	table, chain string
	rule         nft.Rule
	counter      *expr.Counter
}

func decodeRule(ad *netlink.AttributeDecoder) (kernelRule, error) {
	var kr kernelRule
	var exprs []rawExpression
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_RULE_TABLE:
			kr.table = ad.String()
		case unix.NFTA_RULE_CHAIN:
			kr.chain = ad.String()
		case unix.NFTA_RULE_USERDATA:
			kr.rule.Comment = comment(ad.Bytes())
		case unix.NFTA_RULE_EXPRESSIONS:
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(e *netlink.AttributeDecoder) error {
						exprs = append(exprs, decodeExpression(e))
						return nil
					})
				}
				return nil
			})
		}
	}
	p := ruleParser{exprs: exprs, rule: &kr.rule}
	p.parse()
	kr.counter = p.counter
	kr.rule.Matches = withoutImplied(kr.rule.Matches)
	return kr, ad.Err()
}

// rawExpression is an expression with its name. It is decoded if this package
// writes expressions of this kind.
type rawExpression struct {
	name    string
	data    []byte
	decoded expr.Any
}

func decodeExpression(ad *netlink.AttributeDecoder) rawExpression {
	var e rawExpression
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_EXPR_NAME:
			e.name = ad.String()
		case unix.NFTA_EXPR_DATA:
			e.data = ad.Bytes()
		}
	}
	if target := newExpression(e.name); target != nil && expr.Unmarshal(unix.NFPROTO_INET, e.data, target) == nil {
		e.decoded = target
	}
	if c, ok := e.decoded.(*expr.Ct); ok && c.Register == 0 {
		decodeCtSource(e.data, c)
	}
	if i, ok := e.decoded.(*expr.Immediate); ok && i.Register == unix.NFT_REG_VERDICT {
		v := &expr.Verdict{}
		e.decoded = nil
		if expr.Unmarshal(unix.NFPROTO_INET, e.data, v) == nil {
			e.decoded = v
		}
	}
	return e
}

// newExpression returns an empty expression of a kind that this package writes.
func newExpression(name string) expr.Any {
	switch name {
	case "meta":
		return &expr.Meta{}
	case "payload":
		return &expr.Payload{}
	case "cmp":
		return &expr.Cmp{}
	case "lookup":
		return &expr.Lookup{}
	case "counter":
		return &expr.Counter{}
	case "immediate":
		return &expr.Immediate{}
	case "nat":
		return &expr.NAT{}
	case "redir":
		return &expr.Redir{}
	case "ct":
		return &expr.Ct{}
	case "bitwise":
		return &expr.Bitwise{}
	default:
		return nil
	}
}

// ruleParser converts a list of expressions to a Rule. Unknown expressions are
// converted to a match of FieldUnrecognized, which is not equal to any match of
// Build.
type ruleParser struct {
	exprs   []rawExpression
	rule    *nft.Rule
	counter *expr.Counter
}

func (p *ruleParser) parse() {
	for len(p.exprs) > 0 {
		n := p.step()
		if n == 0 {
			p.unrecognized(p.exprs[0])
			n = 1
		}
		p.exprs = p.exprs[n:]
	}
}

// at returns the remaining expression i, or nil.
func (p *ruleParser) at(i int) expr.Any {
	if i < len(p.exprs) {
		return p.exprs[i].decoded
	}
	return nil
}

// step parses one match, counter or statement. It returns the number of parsed
// expressions, or 0 if it does not recognize them.
func (p *ruleParser) step() int {
	if p.rule.Statement.Kind != nft.StatementNone {
		return 0 // meshvm's rules do not have expressions after a statement.
	}
	switch first := p.at(0).(type) {
	case *expr.Counter:
		if p.rule.Counter {
			return 0
		}
		p.rule.Counter, p.counter = true, first
		return 1
	case *expr.Meta, *expr.Payload:
		if nat, ok := p.at(1).(*expr.NAT); ok {
			return p.keep(first, nat)
		}
		if p.field(first) == nft.FieldPacketMark {
			return p.masked(nft.FieldPacketMark, p.at(1), p.at(2))
		}
		return p.match(p.field(first), p.at(1))
	case *expr.Ct:
		if p.field(first) == nft.FieldConntrackMark {
			return p.conntrackMark(p.at(1), p.at(2))
		}
		return p.flag(p.field(first), p.at(1), p.at(2))
	case *expr.Verdict:
		return p.verdict(first)
	case *expr.Immediate:
		if n := p.destination(first, p.at(1), p.at(2)); n > 0 {
			return n
		}
		return p.statement(first, p.at(1))
	default:
		return 0
	}
}

// field is the inverse of load. A port belongs to the protocol that was matched
// before.
func (p *ruleParser) field(e expr.Any) nft.Field {
	for _, known := range knownLoads {
		if !sameLoad(known.load, e) {
			continue
		}
		if need, ok := known.field.Implied(); !ok || slices.Contains(p.rule.Matches, need) {
			return known.field
		}
	}
	return nft.FieldUnrecognized
}

// knownLoads contains the results of load.
var knownLoads = func() (out []struct {
	field nft.Field
	load  expr.Any
},
) {
	for _, f := range nft.Fields() {
		if e, err := load(f); err == nil {
			out = append(out, struct {
				field nft.Field
				load  expr.Any
			}{f, e})
		}
	}
	return out
}()

// sameLoad compares loaded fields. For a prefix, a payload can be shorter.
func sameLoad(want, got expr.Any) bool {
	if w, ok := want.(*expr.Payload); ok {
		g, ok := got.(*expr.Payload)
		if !ok || g.Len > w.Len {
			return false
		}
		full := *g
		full.Len = w.Len
		return full == *w
	}
	if w, ok := want.(*expr.Ct); ok {
		g, ok := got.(*expr.Ct)
		return ok && *w == *g
	}
	w, wok := want.(*expr.Meta)
	g, gok := got.(*expr.Meta)
	return wok && gok && *w == *g
}

func (p *ruleParser) verdict(v *expr.Verdict) int {
	switch *v {
	case expr.Verdict{Kind: expr.VerdictDrop}:
		p.rule.Statement = nft.Statement{Kind: nft.StatementDrop}
	case expr.Verdict{Kind: expr.VerdictAccept}:
		p.rule.Statement = nft.Statement{Kind: nft.StatementAccept}
	default:
		return 0
	}
	return 1
}

func (p *ruleParser) match(f nft.Field, test expr.Any) int {
	if f == nft.FieldUnrecognized {
		return 0
	}
	m := nft.Match{Field: f}
	switch t := test.(type) {
	case *expr.Cmp:
		value, err := nft.DecodeValue(f.Type(), t.Data)
		if err != nil || t.Register != register || t.Op != expr.CmpOpEq && t.Op != expr.CmpOpNeq {
			return 0
		}
		m.Value, m.Not = value, t.Op == expr.CmpOpNeq
	case *expr.Lookup:
		if t.SourceRegister != register || t.IsDestRegSet {
			return 0
		}
		m.Set, m.Not = t.SetName, t.Invert
	default:
		return 0
	}
	p.rule.Matches = append(p.rule.Matches, m)
	return 2
}

// keep parses the null binding.
func (p *ruleParser) keep(loaded expr.Any, nat *expr.NAT) int {
	family, ok := plainNAT(nat, expr.NATTypeDestNAT)
	if !ok || p.field(loaded) != destinationFields[family] {
		return 0
	}
	if full, ok := loaded.(*expr.Payload); !ok || full.Len != destinationFields[family].Type().Size() {
		return 0
	}
	p.rule.Statement = nft.Statement{Kind: nft.StatementKeep, Family: family}
	return 2
}

// plainNAT returns the family of a translation that takes its address from the
// register and does not have other options. The kernel returns the register as
// both ends of the range.
func plainNAT(n *expr.NAT, kind expr.NATType) (family string, ok bool) {
	plain := *n
	if plain.RegAddrMax == plain.RegAddrMin {
		plain.RegAddrMax = 0
	}
	for family, number := range natFamilies {
		if plain == (expr.NAT{Type: kind, Family: number, RegAddrMin: register}) {
			return family, true
		}
	}
	return "", false
}

// translated returns the text of the translated address if the translation is
// plain and has the family of the address.
func translated(address []byte, nat *expr.NAT, kind expr.NATType) (string, bool) {
	a, ok := netip.AddrFromSlice(address)
	family, plain := plainNAT(nat, kind)
	return a.String(), ok && plain && nft.FamilyOf(a.String()) == family
}

// destination parses a translation to an address and a port.
func (p *ruleParser) destination(address *expr.Immediate, second, third expr.Any) int {
	port, isPort := second.(*expr.Immediate)
	nat, isNAT := third.(*expr.NAT)
	if !isPort || !isNAT || address.Register != register || port.Register != portRegister || len(port.Data) != 2 {
		return 0
	}
	plain := *nat
	if plain.RegProtoMax == plain.RegProtoMin {
		plain.RegProtoMax = 0
	}
	if plain.RegProtoMin != portRegister {
		return 0
	}
	plain.RegProtoMin, plain.Specified = 0, false
	to, ok := translated(address.Data, &plain, expr.NATTypeDestNAT)
	if !ok {
		return 0
	}
	p.rule.Statement = nft.Statement{Kind: nft.StatementDNAT, Address: to, Port: binary.BigEndian.Uint16(port.Data)}
	return 3
}

func (p *ruleParser) statement(value *expr.Immediate, action expr.Any) int {
	if value.Register != register {
		return 0
	}
	switch a := action.(type) {
	case *expr.Meta:
		if len(value.Data) != 4 || *a != (expr.Meta{Key: expr.MetaKeyMARK, Register: register, SourceRegister: true}) {
			return 0
		}
		p.rule.Statement = nft.Statement{Kind: nft.StatementMark, Mark: binary.NativeEndian.Uint32(value.Data)}
	case *expr.Ct:
		if len(value.Data) != 2 || *a != (expr.Ct{Key: expr.CtKeyZONE, Register: register, SourceRegister: true}) {
			return 0
		}
		p.rule.Statement = nft.Statement{Kind: nft.StatementZone, Zone: binary.NativeEndian.Uint16(value.Data)}
	case *expr.NAT:
		to, ok := translated(value.Data, a, a.Type)
		kind := nft.StatementDNAT
		if a.Type == expr.NATTypeSourceNAT {
			kind = nft.StatementSNAT
		}
		if !ok {
			return 0
		}
		p.rule.Statement = nft.Statement{Kind: kind, Address: to}
	case *expr.Redir:
		plain := *a
		plain.Flags &^= unix.NF_NAT_RANGE_PROTO_SPECIFIED
		if plain.RegisterProtoMax == plain.RegisterProtoMin {
			plain.RegisterProtoMax = 0
		}
		if len(value.Data) != 2 || plain != (expr.Redir{RegisterProtoMin: register}) {
			return 0
		}
		p.rule.Statement = nft.Statement{Kind: nft.StatementRedirect, Port: binary.BigEndian.Uint16(value.Data)}
	default:
		return 0
	}
	return 2
}

func (p *ruleParser) unrecognized(e rawExpression) {
	p.rule.Matches = append(p.rule.Matches, nft.Match{
		Field: nft.FieldUnrecognized,
		Value: fmt.Sprintf("%s %x", e.name, e.data),
	})
}

// withoutImplied removes a match that the next match implies, like nft.
func withoutImplied(matches []nft.Match) []nft.Match {
	var out []nft.Match
	for i, m := range matches {
		if i+1 < len(matches) {
			if need, ok := matches[i+1].Field.Implied(); ok && need == m {
				continue
			}
		}
		out = append(out, m)
	}
	return out
}
