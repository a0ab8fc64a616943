// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
)

func encode(t testing.TB, attributes ...netlink.Attribute) []byte {
	t.Helper()
	b, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tuple encodes a TCP tuple like the kernel.
func tuple(t testing.TB, kind uint16) netlink.Attribute {
	t.Helper()
	ip := encode(t, netlink.Attribute{Type: ipv4Source, Data: []byte{10, 0, 2, 2}}, netlink.Attribute{Type: ipv4Destination, Data: []byte{192, 0, 2, 1}})
	protocol := encode(t, netlink.Attribute{Type: protocolNumber, Data: []byte{6}},
		netlink.Attribute{Type: protocolSourcePort, Data: []byte{0x80, 0}}, netlink.Attribute{Type: protocolDestinationPort, Data: []byte{0, 80}})
	return netlink.Attribute{Type: kind | netlink.Nested, Data: encode(t,
		netlink.Attribute{Type: tupleIP | netlink.Nested, Data: ip}, netlink.Attribute{Type: tupleProtocol | netlink.Nested, Data: protocol})}
}

func TestDecode(t *testing.T) {
	f, err := decode(encode(t, tuple(t, attributeOriginal), tuple(t, attributeReply),
		netlink.Attribute{Type: attributeMark, Data: []byte{0, 0x10, 0, 1}}, netlink.Attribute{Type: attributeZone, Data: []byte{0, 2}},
		netlink.Attribute{Type: attributeID, Data: []byte{1, 2, 3, 4}}))
	if err != nil {
		t.Fatal(err)
	}
	want := Tuple{Source: netip.MustParseAddrPort("10.0.2.2:32768"), Destination: netip.MustParseAddrPort("192.0.2.1:80")}
	if f.Protocol != 6 || f.Original != want || f.Reply != want || f.Mark != 0x100001 || f.Zone != 2 || len(f.identity) != 3 {
		t.Errorf("decoded to %+v", f)
	}
}

// FuzzDecode decodes arbitrary messages, which must not cause a panic.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, tuple(f, attributeOriginal)))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decode(b) })
}
