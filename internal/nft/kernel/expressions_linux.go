// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nft"
)

// The register that nearly all expressions use, and the register for a
// destination port.
const (
	register     = unix.NFT_REG_1
	portRegister = unix.NFT_REG_2
)

// expressions returns the netlink expressions of a rule.
func expressions(t nft.Table, r nft.Rule) ([]expr.Any, error) {
	var out []expr.Any
	have := map[nft.Match]bool{}
	for _, m := range r.Matches {
		if need, ok := m.Field.Implied(); ok && !have[need] {
			e, err := matchExpressions(t, need)
			if err != nil {
				return nil, err
			}
			out, have[need] = append(out, e...), true
		}
		e, err := matchExpressions(t, m)
		if err != nil {
			return nil, err
		}
		out, have[m] = append(out, e...), true
	}
	if r.Counter {
		out = append(out, &expr.Counter{})
	}
	e, err := statementExpressions(r.Statement)
	return append(out, e...), err
}

// load returns the expression that loads a field into the register.
func load(f nft.Field) (expr.Any, error) {
	switch f {
	case nft.FieldInputInterface:
		return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, nil
	case nft.FieldOutputInterface:
		return &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, nil
	case nft.FieldNFProtocol:
		return &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, nil
	case nft.FieldTransportProtocol:
		return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, nil
	case nft.FieldSourceAddress:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: ipv4SourceOffset, Len: 4}, nil
	case nft.FieldDestinationAddress:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: ipv4DestinationOffset, Len: 4}, nil
	case nft.FieldSourceIPv6:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: ipv6SourceOffset, Len: 16}, nil
	case nft.FieldDestinationIPv6:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: ipv6DestinationOffset, Len: 16}, nil
	case nft.FieldTCPDestinationPort, nft.FieldUDPDestinationPort:
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: destinationPortOffset, Len: 2}, nil
	case nft.FieldConntrackState:
		return &expr.Ct{Key: expr.CtKeySTATE, Register: register}, nil
	case nft.FieldPacketMark:
		return &expr.Meta{Key: expr.MetaKeyMARK, Register: register}, nil
	case nft.FieldConntrackMark:
		return &expr.Ct{Key: expr.CtKeyMARK, Register: register}, nil
	case nft.FieldUnrecognized:
		fallthrough
	default:
		return nil, fmt.Errorf("%w: field %q is not supported", nft.ErrValue, f)
	}
}

// Byte offsets of header fields (RFC 791, RFC 8200, RFC 9293, RFC 768).
const (
	ipv4SourceOffset      = 12
	ipv4DestinationOffset = 16
	ipv6SourceOffset      = 8
	ipv6DestinationOffset = 24
	destinationPortOffset = 2
)

func matchExpressions(t nft.Table, m nft.Match) ([]expr.Any, error) {
	loaded, err := load(m.Field)
	if err != nil {
		return nil, err
	}
	if m.Set != "" {
		for i, s := range t.Sets {
			if s.Name == m.Set {
				return []expr.Any{loaded, &expr.Lookup{SourceRegister: register, SetName: m.Set, SetID: uint32(i + 1), Invert: m.Not}}, nil
			}
		}
		return nil, fmt.Errorf("%w: no set %q", nft.ErrValue, m.Set)
	}
	value, err := nft.EncodeValue(m.Field.Type(), m.Value)
	if err != nil {
		return nil, err
	}
	if m.Field.Type() == nft.TypeState {
		if m.Not {
			return nil, fmt.Errorf("%w: %s cannot be inverted", nft.ErrValue, m.Field)
		}
		return flagExpressions(loaded, value), nil
	}
	if p, ok := loaded.(*expr.Payload); ok {
		if n := len(value); n >= 0 && n <= nft.InterfaceNameSize {
			p.Len = uint32(n) // For a prefix, fewer bytes are loaded.
		}
	}
	if m.Field.Type() == nft.TypeMark {
		return maskedExpressions(m, loaded, value)
	}
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{loaded, &expr.Cmp{Op: op, Register: register, Data: value}}, nil
}

// flagExpressions returns the expressions that test whether one of the flags is
// set.
func flagExpressions(loaded expr.Any, flags []byte) []expr.Any {
	zero := make([]byte, len(flags))
	return []expr.Any{
		loaded,
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(flags)), Mask: flags, Xor: zero}, //nolint:gosec // At most 16.
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: zero},
	}
}

// natFamilies are the kernel's numbers of the address families of translations.
var natFamilies = map[string]uint32{nft.FamilyIPv4: unix.NFPROTO_IPV4, nft.FamilyIPv6: unix.NFPROTO_IPV6}

// destinationFields are the fields that the null binding loads.
var destinationFields = map[string]nft.Field{nft.FamilyIPv4: nft.FieldDestinationAddress, nft.FamilyIPv6: nft.FieldDestinationIPv6}

// translation returns the last expression of StatementDNAT and StatementSNAT.
func translation(s nft.Statement) ([]expr.Any, error) {
	a, err := netip.ParseAddr(s.Address)
	if err != nil || a.Zone() != "" {
		return nil, fmt.Errorf("%w: %s to %q", nft.ErrValue, s.Kind, s.Address)
	}
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: natFamilies[nft.FamilyOf(s.Address)], RegAddrMin: register}
	if s.Kind == nft.StatementSNAT {
		nat.Type = expr.NATTypeSourceNAT
	}
	out := []expr.Any{&expr.Immediate{Register: register, Data: a.AsSlice()}}
	if s.Port != 0 {
		nat.RegProtoMin, nat.Specified = portRegister, true
		out = append(out, &expr.Immediate{Register: portRegister, Data: binary.BigEndian.AppendUint16(nil, s.Port)})
	}
	return append(out, nat), nil
}

func statementExpressions(s nft.Statement) ([]expr.Any, error) {
	switch s.Kind {
	case nft.StatementDNAT, nft.StatementSNAT:
		return translation(s)
	case nft.StatementKeep:
		field, ok := destinationFields[s.Family]
		if !ok {
			return nil, fmt.Errorf("%w: family %q", nft.ErrValue, s.Family)
		}
		destination, err := load(field)
		return []expr.Any{destination, &expr.NAT{Type: expr.NATTypeDestNAT, Family: natFamilies[s.Family], RegAddrMin: register}}, err
	case nft.StatementRedirect:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, s.Port)},
			&expr.Redir{RegisterProtoMin: register, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
		}, nil
	case nft.StatementZone:
		return []expr.Any{
			&expr.Immediate{Register: register, Data: binary.NativeEndian.AppendUint16(nil, s.Zone)},
			&expr.Ct{Key: expr.CtKeyZONE, Register: register, SourceRegister: true},
		}, nil
	case nft.StatementMark, nft.StatementConntrackMark:
		return markExpressions(s), nil
	case nft.StatementDrop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}, nil
	case nft.StatementAccept:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}, nil
	case nft.StatementNone:
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: statement %q is not supported", nft.ErrValue, s.Kind)
	}
}
