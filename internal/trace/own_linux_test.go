// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOwnRules checks that the trace's table matches first packets of the
// requested flow and connections of the proxy.
func TestOwnRules(t *testing.T) {
	const (
		syn   = " tcp flags & 0x17 == 0x02"
		mark  = " limit rate 20/1s meta nftrace set 1"
		proxy = " limit rate 50/1s meta nftrace set 1"
	)
	upstream := func(match string) []string {
		return []string{
			"output proxy meta skuid 1337 " + match + proxy, "output proxy meta skuid 1337 meta l4proto tcp" + syn + proxy,
			"output proxy meta skgid 1337 " + match + proxy, "output proxy meta skgid 1337 meta l4proto tcp" + syn + proxy,
		}
	}
	for name, tc := range map[string]struct {
		flow Flow
		want []string
	}{
		"client to a port": {
			Flow{From: FromOutside, Protocol: ProtocolTCP, DestinationPort: 8080},
			append([]string{`prerouting flow iifname "eth0" meta l4proto tcp` + syn + " tcp dport 8080" + mark}, upstream("meta l4proto tcp"+syn+" tcp dport 8080")...),
		},
		"guest to an address": {
			Flow{From: FromGuest, Protocol: ProtocolTCP, Source: "10.0.2.2", Destination: "::ffff:203.0.113.9"},
			append([]string{`prerouting flow iifname "k6t-eth0" ip saddr 10.0.2.2 ip daddr 203.0.113.9 meta l4proto tcp` + syn + mark}, upstream("ip daddr 203.0.113.9 meta l4proto tcp"+syn)...),
		},
		"guest to a resolver over IPv6": {
			Flow{From: FromGuest, Protocol: ProtocolUDP, Destination: "fd00::53", DestinationPort: 53},
			[]string{`prerouting flow iifname "k6t-eth0" ip6 daddr fd00::53 udp dport 53` + mark},
		},
		"ping from anywhere": {
			Flow{Protocol: ProtocolICMP},
			[]string{
				`prerouting flow iifname "k6t-eth0" meta l4proto icmp` + mark,
				`prerouting flow iifname "eth0" meta l4proto icmp` + mark,
				`output flow meta l4proto icmp` + mark,
			},
		},
		"pod to a port": {
			Flow{From: FromPod, Protocol: ProtocolUDP, SourcePort: 53},
			[]string{"output flow udp sport 53" + mark},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range ownRules(Request{Flow: tc.flow}.WithDefaults()) {
				got = append(got, r.chain+" "+string(r.role)+" "+ruleText(r.exprs, nil))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProtocols(t *testing.T) {
	for p, want := range map[Protocol][]uint8{
		ProtocolAny: {numberTCP, numberUDP}, ProtocolTCP: {numberTCP}, ProtocolUDP: {numberUDP},
		ProtocolICMP: {numberICMP}, ProtocolICMPv6: {numberICMPv6},
	} {
		if diff := cmp.Diff(want, protocols(p)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", p, diff)
		}
	}
}
