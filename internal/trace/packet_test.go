// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// Headers of packets.
var (
	header4 = []byte{0x45, 0, 0, 60, 0x5a, 0xe7, 0x40, 0, 64, numberTCP, 0, 0, 10, 0, 2, 2, 203, 0, 113, 9}
	header6 = append([]byte{0x60, 0, 0, 0, 0, 40, numberUDP, 64},
		append(netip.MustParseAddr("fd10::2").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...)...)
	tcpHeader = []byte{0xae, 0x62, 0x01, 0xbb, 0xfa, 0x53, 0x27, 0xcb, 0, 0, 0, 0, 0xa0, 0x02}
)

// addresses makes cmp compare addresses.
var addresses = cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})

func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func tuple(protocol uint8, source, destination netip.AddrPort) nfnetlink.Tuple {
	return nfnetlink.Tuple{Protocol: protocol, Source: source, Destination: destination}
}

func TestParsePacket(t *testing.T) {
	with := func(header []byte, protocol byte) []byte {
		out := append([]byte{}, header...)
		out[9] = protocol
		return out
	}
	for name, tc := range map[string]struct {
		network, transport []byte
		want               Packet
		ok                 bool
	}{
		"TCP over IPv4": {header4, tcpHeader, Packet{
			Tuple: tuple(numberTCP, endpoint("10.0.2.2:44642"), endpoint("203.0.113.9:443")),
			ID:    0x5ae7, Sequence: 0xfa5327cb, Length: 60,
		}, true},
		"UDP over IPv6": {header6, []byte{0, 53, 0x14, 0xe9, 0, 8, 0, 0}, Packet{
			Tuple: tuple(numberUDP, endpoint("[fd10::2]:53"), endpoint("[2001:db8::1]:5353")), Length: 40,
		}, true},
		"ping": {with(header4, numberICMP), []byte{8, 0, 0, 0, 0, 7, 0, 1}, Packet{
			Tuple: tuple(numberICMP, endpoint("10.0.2.2:7"), endpoint("203.0.113.9:7")), ID: 0x5ae7, Sequence: 7<<16 | 1, Length: 60,
		}, true},
		"transport header cut short": {header4, []byte{1, 2}, Packet{
			Tuple: tuple(numberTCP, endpoint("10.0.2.2:0"), endpoint("203.0.113.9:0")), ID: 0x5ae7, Length: 60,
		}, true},
		"no header":                {nil, tcpHeader, Packet{}, false},
		"network header cut short": {header4[:19], tcpHeader, Packet{}, false},
		"IPv6 header cut short":    {header6[:39], nil, Packet{}, false},
		"neither IPv4 nor IPv6":    {make([]byte, 40), nil, Packet{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parsePacket(tc.network, tc.transport)
			if ok != tc.ok {
				t.Fatalf("recognized: %t", ok)
			}
			if ok {
				if diff := cmp.Diff(tc.want, got, addresses); diff != "" {
					t.Errorf("packet (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestFingerprintSurvivesTranslation(t *testing.T) {
	p, _ := parsePacket(header4, tcpHeader)
	translated := p
	translated.Destination, translated.Source = endpoint("10.0.2.1:15001"), endpoint("10.244.0.8:999")
	if p.fingerprint() != translated.fingerprint() {
		t.Error("a translated packet has a different fingerprint")
	}
	again := p
	again.ID++
	if p.fingerprint() == again.fingerprint() {
		t.Error("a repeated packet has the same fingerprint")
	}
}
