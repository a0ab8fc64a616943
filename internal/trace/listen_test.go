// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// procLine returns a line of /proc/net/tcp in host byte order.
func procLine(socket, state string) string {
	a := netip.MustParseAddrPort(socket)
	b := a.Addr().AsSlice()
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	return fmt.Sprintf("   0: %s:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 1\n", strings.ToUpper(hex.EncodeToString(b)), a.Port(), state)
}

func TestParseSockets(t *testing.T) {
	text := "  sl  local_address rem_address   st tx_queue\n" +
		procLine("127.0.0.1:15000", stateListen) + procLine("10.0.2.1:15001", "01") +
		procLine("[::]:15006", stateListen) + procLine("[2001:db8::1]:80", stateListen) +
		"   1: zz:0050 0:0 0A\n   1: 00:0050 0:0 0A\n   1: 00000000:zz 0:0 0A\n   1: 00000000 0:0 0A\nshort\n"
	want := []netip.AddrPort{endpoint("127.0.0.1:15000"), endpoint("[::]:15006"), endpoint("[2001:db8::1]:80")}
	if diff := cmp.Diff(want, parseSockets([]byte(text), stateListen), addresses); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}

func TestListens(t *testing.T) {
	l := Listeners{
		TCP: []netip.AddrPort{endpoint("127.0.0.1:15000"), endpoint("0.0.0.0:15001"), endpoint("[::]:15006"), endpoint("[::ffff:10.0.0.1]:80")},
		UDP: []netip.AddrPort{endpoint("0.0.0.0:53")},
	}
	for _, tc := range []struct {
		protocol uint8
		to       string
		want     bool
	}{
		{numberTCP, "127.0.0.1:15000", true},
		{numberTCP, "10.244.0.8:15000", false},
		{numberTCP, "10.0.2.1:15001", true},
		{numberTCP, "[fd10::1]:15001", false},
		{numberTCP, "10.0.2.1:15006", true},
		{numberTCP, "[fd10::1]:15006", true},
		{numberTCP, "10.0.0.1:80", true},
		{numberTCP, "10.0.0.1:53", false},
		{numberUDP, "10.0.0.1:53", true},
	} {
		if got := l.Listens(tc.protocol, endpoint(tc.to)); got != tc.want {
			t.Errorf("%s %s: %t", protocolName(tc.protocol), tc.to, got)
		}
	}
}
