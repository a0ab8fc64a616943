// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"testing"
)

func TestElements(t *testing.T) {
	for name, tc := range map[string]struct {
		kind DataType
		text string
		want Interval
		// spelled is the value in nft's notation, if it differs from text.
		spelled string
	}{
		"port":                             {kind: TypePort, text: "8080", want: Interval{Key{Low: 8080}, Key{Low: 8080}}},
		"last port":                        {kind: TypePort, text: "65535", want: Interval{Key{Low: 65535}, Key{Low: 65535}}},
		"port range":                       {kind: TypePort, text: "9000-9010", want: Interval{Key{Low: 9000}, Key{Low: 9010}}},
		"ports that resemble a prefix":     {kind: TypePort, text: "8-15", want: Interval{Key{Low: 8}, Key{Low: 15}}},
		"address":                          {kind: TypeIPv4Address, text: "10.0.0.1", want: Interval{Key{Low: 0x0a000001}, Key{Low: 0x0a000001}}},
		"network":                          {kind: TypeIPv4Address, text: "10.0.0.0/8", want: Interval{Key{Low: 0x0a000000}, Key{Low: 0x0affffff}}},
		"one address as network":           {kind: TypeIPv4Address, text: "10.0.0.1/32", want: Interval{Key{Low: 0x0a000001}, Key{Low: 0x0a000001}}, spelled: "10.0.0.1"},
		"all addresses":                    {kind: TypeIPv4Address, text: "0.0.0.0/0", want: Interval{Key{Low: 0}, Key{Low: 0xffffffff}}},
		"range that is a network":          {kind: TypeIPv4Address, text: "10.0.0.0-10.0.0.255", want: Interval{Key{Low: 0x0a000000}, Key{Low: 0x0a0000ff}}, spelled: "10.0.0.0/24"},
		"range that is not a network":      {kind: TypeIPv4Address, text: "10.0.0.4-10.0.0.9", want: Interval{Key{Low: 0x0a000004}, Key{Low: 0x0a000009}}},
		"IPv6 address":                     {kind: TypeIPv6Address, text: "fd10:0:2::2", want: Interval{Key{0xfd10000000020000, 2}, Key{0xfd10000000020000, 2}}},
		"IPv6 network":                     {kind: TypeIPv6Address, text: "fd10:0:2::/120", want: Interval{Key{0xfd10000000020000, 0}, Key{0xfd10000000020000, 0xff}}},
		"IPv6 network of 64 bits":          {kind: TypeIPv6Address, text: "2001:db8::/64", want: Interval{Key{0x20010db800000000, 0}, Key{0x20010db800000000, ^uint64(0)}}},
		"large IPv6 network":               {kind: TypeIPv6Address, text: "fd00::/8", want: Interval{Key{0xfd00000000000000, 0}, Key{0xfdffffffffffffff, ^uint64(0)}}},
		"all IPv6 addresses":               {kind: TypeIPv6Address, text: "::/0", want: Interval{Key{}, Key{^uint64(0), ^uint64(0)}}},
		"IPv6 range of a network":          {kind: TypeIPv6Address, text: "fd00::-fd00::1:ffff", want: Interval{Key{0xfd00000000000000, 0}, Key{0xfd00000000000000, 0x1ffff}}, spelled: "fd00::/111"},
		"IPv6 range over 64 bits":          {kind: TypeIPv6Address, text: "fd00::ffff:ffff:ffff:ffff-fd00:0:0:1::", want: Interval{Key{0xfd00000000000000, ^uint64(0)}, Key{0xfd00000000000001, 0}}},
		"prefix length without an address": {kind: TypeIPv4Address, text: "10.0.0.1-10.0.0.4", want: Interval{Key{Low: 0x0a000001}, Key{Low: 0x0a000004}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseElement(tc.kind, tc.text)
			if err != nil || got != tc.want {
				t.Fatalf("parsed as %+v, %v, want %+v", got, err, tc.want)
			}
			want := tc.spelled
			if want == "" {
				want = tc.text
			}
			if text, err := FormatElement(tc.kind, got); err != nil || text != want {
				t.Errorf("formatted as %q, %v, want %q", text, err, want)
			}
		})
	}
}

func TestInvalidElements(t *testing.T) {
	for name, tc := range map[string]struct {
		kind DataType
		text string
	}{
		"port too large":     {TypePort, "65536"},
		"no port":            {TypePort, ""},
		"backward range":     {TypePort, "10-9"},
		"incomplete range":   {TypePort, "10-"},
		"network as port":    {TypePort, "10.0.0.0/8"},
		"IPv6 address":       {TypeIPv4Address, "::1"},
		"IPv4 address":       {TypeIPv6Address, "10.0.0.1"},
		"zone":               {TypeIPv6Address, "fe80::1%eth0"},
		"host bits":          {TypeIPv4Address, "10.0.0.1/8"},
		"IPv6 host bits":     {TypeIPv6Address, "fd00::1/8"},
		"interface name":     {TypeInterfaceName, "eth0"},
		"unknown type":       {DataType("realm"), "1"},
		"protocol as number": {TypeInetProtocol, "6"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseElement(tc.kind, tc.text); !errors.Is(err, ErrValue) {
				t.Errorf("parsed as %+v, %v, want an error", got, err)
			}
		})
	}
}

func TestValues(t *testing.T) {
	for name, tc := range map[string]struct {
		kind DataType
		text string
	}{
		"interface":          {TypeInterfaceName, "k6t-eth0"},
		"longest interface":  {TypeInterfaceName, "k6t-0123456789a"},
		"IPv4":               {TypeNFProtocol, "ipv4"},
		"UDP":                {TypeInetProtocol, "udp"},
		"address":            {TypeIPv4Address, "10.0.2.2"},
		"network of 8 bits":  {TypeIPv4Address, "127.0.0.0/8"},
		"network of 24 bits": {TypeIPv4Address, "192.0.2.0/24"},
		"IPv6 address":       {TypeIPv6Address, "fd10:0:2::2"},
		"IPv6 network":       {TypeIPv6Address, "fd00:98::/32"},
		"port":               {TypePort, "15006"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := EncodeValue(tc.kind, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := DecodeValue(tc.kind, b); err != nil || got != tc.text {
				t.Errorf("% x decoded as %q, %v, want %q", b, got, err, tc.text)
			}
		})
	}
}

func TestDecodeForeignValue(t *testing.T) {
	if got, err := DecodeValue(TypeInterfaceName, []byte("eth")); err != nil || got != "eth*" {
		t.Errorf("a comparison of a part decoded as %q, %v, want a wildcard", got, err)
	}
	for _, kind := range []DataType{TypeNFProtocol, TypeInetProtocol, TypeIPv4Address, TypePort, "mark"} {
		if got, err := DecodeValue(kind, []byte{1, 2, 3, 4, 5}); !errors.Is(err, ErrValue) {
			t.Errorf("five bytes of type %s decoded as %q, %v", kind, got, err)
		}
	}
}

func TestNextAndPreviousKey(t *testing.T) {
	for _, k := range []Key{{}, {Low: 7}, {Low: ^uint64(0)}, {High: 1}, {^uint64(0), ^uint64(0)}} {
		if got := k.Next().Previous(); got != k {
			t.Errorf("the key before the key after %+v is %+v", k, got)
		}
	}
	if got, want := (Key{Low: ^uint64(0)}).Next(), (Key{High: 1}); got != want {
		t.Errorf("the carry is lost: %+v", got)
	}
	if (Key{High: 1}).Compare(Key{Low: ^uint64(0)}) <= 0 {
		t.Error("the high half has a lower weight than the low half")
	}
}
