// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
	"meshvm.io/meshvm/internal/nft"
)

// decodeCtSource decodes an attribute that expr.Ct does not support: the source
// register of a set operation.
func decodeCtSource(data []byte, c *expr.Ct) {
	_ = nfnetlink.DecodeAttributes(data, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_CT_SREG {
				c.Register, c.SourceRegister = ad.Uint32(), true
			}
		}
		return nil
	})
}

// flag parses the test of one flag, the inverse of flagExpressions.
func (p *ruleParser) flag(f nft.Field, mask, test expr.Any) int {
	b, isMask := mask.(*expr.Bitwise)
	c, isTest := test.(*expr.Cmp)
	if f != nft.FieldConntrackState || !isMask || !isTest {
		return 0
	}
	value, err := nft.DecodeValue(f.Type(), b.Mask)
	if err != nil || !reflect.DeepEqual(flagExpressions(nil, b.Mask), []expr.Any{nil, b, c}) {
		return 0
	}
	p.rule.Matches = append(p.rule.Matches, nft.Match{Field: f, Value: value})
	return 3
}

// markSize is the length of a mark in bytes. The kernel stores marks in host
// byte order.
const markSize = 4

func markBytes(mark uint32) []byte { return binary.NativeEndian.AppendUint32(nil, mark) }

// maskedExpressions returns the expressions that compare a mark under a mask.
func maskedExpressions(m nft.Match, loaded expr.Any, value []byte) ([]expr.Any, error) {
	mask, err := nft.EncodeValue(nft.TypeMark, m.Mask)
	if err != nil {
		return nil, fmt.Errorf("%w: %s without a mask", nft.ErrValue, m.Field)
	}
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		loaded,
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: markSize, Mask: mask, Xor: markBytes(0)},
		&expr.Cmp{Op: op, Register: register, Data: value},
	}, nil
}

// masked parses a comparison under a mask, the inverse of maskedExpressions.
func (p *ruleParser) masked(f nft.Field, mask, test expr.Any) int {
	b, isMask := mask.(*expr.Bitwise)
	c, isTest := test.(*expr.Cmp)
	if !isMask || !isTest || !plainBitwise(b) || !slices.Equal(b.Xor, markBytes(0)) ||
		c.Register != register || c.Op != expr.CmpOpEq && c.Op != expr.CmpOpNeq || len(c.Data) != markSize {
		return 0
	}
	p.rule.Matches = append(p.rule.Matches, nft.Match{
		Field: f, Not: c.Op == expr.CmpOpNeq,
		Mask: nft.MarkText(binary.NativeEndian.Uint32(b.Mask)), Value: nft.MarkText(binary.NativeEndian.Uint32(c.Data)),
	})
	return 3
}

// plainBitwise reports whether the operation applies to a single mark in the
// register.
func plainBitwise(b *expr.Bitwise) bool {
	return b.SourceRegister == register && b.DestRegister == register && b.Len == markSize &&
		len(b.Mask) == markSize && len(b.Xor) == markSize
}

// markExpressions returns the expressions that set a mark.
func markExpressions(s nft.Statement) []expr.Any {
	if s.Kind == nft.StatementMark {
		return []expr.Any{
			&expr.Immediate{Register: register, Data: markBytes(s.Mark)},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: register, SourceRegister: true},
		}
	}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: markSize, Mask: markBytes(^s.Mark), Xor: markBytes(s.Mark)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: register, SourceRegister: true},
	}
}

// conntrackMark parses the expressions after a loaded connection mark: a
// comparison, or an operation that sets bits.
func (p *ruleParser) conntrackMark(operation, last expr.Any) int {
	set, isSet := last.(*expr.Ct)
	if !isSet {
		return p.masked(nft.FieldConntrackMark, operation, last)
	}
	b, ok := operation.(*expr.Bitwise)
	if !ok || !plainBitwise(b) || *set != (expr.Ct{Key: expr.CtKeyMARK, Register: register, SourceRegister: true}) {
		return 0
	}
	added := binary.NativeEndian.Uint32(b.Xor)
	if binary.NativeEndian.Uint32(b.Mask) != ^added {
		return 0
	}
	p.rule.Statement = nft.Statement{Kind: nft.StatementConntrackMark, Mark: added}
	return 3
}
