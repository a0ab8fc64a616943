// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

func TestRuleText(t *testing.T) {
	load := func(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }
	network := func(offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
	}
	port := func(offset uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	}
	is := func(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }
	isNot := func(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: b} }
	name := append([]byte("k6t-eth0"), make([]byte, 8)...)
	owner := xt.Unknown(append([]byte{0x39, 5, 0, 0, 0x39, 5, 0, 0}, append(make([]byte, 8), 1, 1, 0, 0, 0, 0, 0, 0)...))
	for _, tc := range []struct {
		want  string
		exprs []expr.Any
	}{
		{`iifname "k6t-eth0" jump ISTIO_REDIRECT`, []expr.Any{load(expr.MetaKeyIIFNAME), is(name...), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: "ISTIO_REDIRECT"}}},
		{`iifname "k6t*" return`, []expr.Any{load(expr.MetaKeyIIFNAME), is([]byte("k6t")...), &expr.Verdict{Kind: expr.VerdictReturn}}},
		{`tcp dport 15008 return`, []expr.Any{load(expr.MetaKeyL4PROTO), is(numberTCP), port(2), is(0x3a, 0xa0), &expr.Verdict{Kind: expr.VerdictReturn}}},
		{`th sport 53 drop`, []expr.Any{port(0), is(0, 53), &expr.Verdict{Kind: expr.VerdictDrop}}},
		{`ip daddr 198.51.100.0/24 accept`, []expr.Any{load(expr.MetaKeyNFPROTO), is(familyIPv4), network(16, 3), is(198, 51, 100), &expr.Verdict{Kind: expr.VerdictAccept}}},
		{`ip daddr 10.16.0.0/12 accept`, []expr.Any{network(16, 4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 240, 0, 0}}, is(10, 16, 0, 0), &expr.Verdict{Kind: expr.VerdictAccept}}},
		{`ip6 saddr ::6 accept`, []expr.Any{load(expr.MetaKeyNFPROTO), is(familyIPv6), network(8, 16), is(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6), &expr.Verdict{Kind: expr.VerdictAccept}}},
		{`ip daddr != 127.0.0.0/8 dnat ip to ip daddr`, []expr.Any{network(16, 1), isNot(127), network(16, 4), &expr.NAT{Type: expr.NATTypeDestNAT, Family: familyIPv4, RegAddrMin: 1}}},
		{`dnat ip to 127.0.0.1:15053`, []expr.Any{&expr.Immediate{Register: 1, Data: []byte{127, 0, 0, 1}}, &expr.Immediate{Register: 2, Data: []byte{0x3a, 0xcd}}, &expr.NAT{Type: expr.NATTypeDestNAT, Family: familyIPv4, RegAddrMin: 1, RegProtoMin: 2}}},
		{`snat ip6 to fd10::1`, []expr.Any{&expr.Immediate{Register: 1, Data: []byte{0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: familyIPv6, RegAddrMin: 1}}},
		{`meta l4proto tcp redirect to :15001`, []expr.Any{load(expr.MetaKeyL4PROTO), is(numberTCP), &expr.Immediate{Register: 1, Data: []byte{0x3a, 0x99}}, &expr.Redir{RegisterProtoMin: 1}}},
		{`redirect to :15006`, []expr.Any{&expr.Target{Name: "REDIRECT", Info: &xt.NatIPv4MultiRangeCompat{{MinPort: 15006, MaxPort: 15006}}}}},
		{`redirect to :15006`, []expr.Any{&expr.Target{Name: "REDIRECT", Info: &xt.NatRange{MinPort: 15006}}}},
		{`xt target LOG`, []expr.Any{&expr.Target{Name: "LOG", Info: &xt.Unknown{}}}},
		{`meta skuid != 1337 return`, []expr.Any{&expr.Match{Name: "owner", Info: &owner}, &expr.Verdict{Kind: expr.VerdictReturn}}},
		{`xt match owner`, []expr.Any{&expr.Match{Name: "owner", Info: &xt.Unknown{1}}}},
		{`ip saddr { 127.0.0.1, 127.0.0.6 } masquerade`, []expr.Any{network(12, 4), &expr.Lookup{SourceRegister: 1, SetName: "__set0"}, &expr.Masq{}}},
		{`tcp dport != @ports reject`, []expr.Any{load(expr.MetaKeyL4PROTO), is(numberTCP), port(2), &expr.Lookup{SourceRegister: 1, SetName: "ports", Invert: true}, &expr.Reject{}}},
		{`tcp flags & 0x17 == 0x02 limit rate 20/1s meta nftrace set 1`, mark(flowRate, flowMatch(Flow{}, numberTCP)[2:])},
		{`ct state & 0x02000000 != 0x00000000 notrack`, []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{2, 0, 0, 0}, Xor: make([]byte, 4)},
			isNot(0, 0, 0, 0), &expr.Notrack{},
		}},
		{`ct zone set 2`, []expr.Any{&expr.Immediate{Register: 1, Data: []byte{2, 0}}, &expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true}}},
		{`tcp dport 8000-8010 [queue]`, []expr.Any{load(expr.MetaKeyL4PROTO), is(numberTCP), port(2), &expr.Range{Register: 1, FromData: []byte{0x1f, 0x40}, ToData: []byte{0x1f, 0x4a}}, &expr.Queue{}}},
		{`@1,64,8 64`, []expr.Any{network(8, 1), is(64)}},
	} {
		sets := map[string][][]byte{"__set0": {{127, 0, 0, 1}, {127, 0, 0, 6}}}
		if got := ruleText(tc.exprs, sets); got != tc.want {
			t.Errorf("text %q, want %q", got, tc.want)
		}
	}
}
