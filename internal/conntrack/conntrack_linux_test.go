// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// TestDeletion checks that a request identifies the flow by the attributes that
// the kernel reported, in its address family.
func TestDeletion(t *testing.T) {
	tuple := func(source, destination string) nfnetlink.Tuple {
		return nfnetlink.Tuple{Protocol: unix.IPPROTO_TCP, Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
	}
	const zone = 18 // linux/netfilter/nfnetlink_conntrack.h, CTA_ZONE
	for family, original := range map[byte]nfnetlink.Tuple{
		unix.AF_INET:  tuple("10.0.2.2:1", "203.0.113.9:443"),
		unix.AF_INET6: tuple("[fd10::2]:1", "[2001:db8::1]:443"),
	} {
		m, err := deletion(nfnetlink.Flow{Original: original, Identity: []netlink.Attribute{{Type: zone, Data: []byte{0, 7}}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := nfnetlink.DecodeFlow(m.Data)
		if err != nil || got.Zone != 7 {
			t.Errorf("%v: decoded to %+v, %v, want zone 7", original, got, err)
		}
		if nfnetlink.Family(m.Data) != family || m.Header.Type != nfnetlink.Conntrack(nfnetlink.ConntrackDelete) ||
			m.Header.Flags != netlink.Request|netlink.Acknowledge {
			t.Errorf("%v: header %+v, family %d", original, m.Header, nfnetlink.Family(m.Data))
		}
	}
}
