// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"net/netip"
	"testing"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

func TestEvaluate(t *testing.T) {
	table, err := Build(with(func(p *ruleio.NATPlan) {
		p.Unmeshed = ruleio.UnmeshedDrop
		p.Inbound.DirectTCP = []ruleio.PortRange{{First: 22, Last: 22}, {First: 9000, Last: 9100}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp, icmp = 6, 17, 1
	guest := nft.Statement{Kind: nft.StatementDNAT, Address: "10.0.2.2"}
	keep := nft.Statement{Kind: nft.StatementKeep, Family: ruleio.FamilyIPv4}
	outbound := nft.Statement{Kind: nft.StatementRedirect, Port: 15001}
	for name, tc := range map[string]struct {
		hook        nft.Hook
		kind        string
		in, out     string
		destination string
		protocol    byte
		want        nft.Statement
	}{
		"guest to anywhere":           {nft.HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:443", tcp, outbound},
		"guest to an excluded port":   {nft.HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:3306", tcp, keep},
		"guest to loopback, excluded": {nft.HookPrerouting, "nat", "k6t-eth0", "", "127.0.0.1:3306", tcp, outbound},
		"guest's UDP":                 {nft.HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:3306", udp, nft.Statement{}},
		"guest over IPv6":             {nft.HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:443", tcp, nft.Statement{}},
		"client to a range":           {nft.HookPrerouting, "nat", "eth0", "", "10.244.0.8:9050", tcp, guest},
		"client to the proxy":         {nft.HookPrerouting, "nat", "eth0", "", "10.244.0.8:15021", tcp, keep},
		"client to a closed port":     {nft.HookPrerouting, "nat", "eth0", "", "10.244.0.8:7777", tcp, nft.Statement{}},
		"forwarded to a closed port":  {nft.HookForward, "filter", "eth0", "k6t-eth0", "10.0.2.2:7777", tcp, nft.Statement{Kind: nft.StatementDrop}},
		"forwarded to a range":        {nft.HookForward, "filter", "eth0", "k6t-eth0", "10.0.2.2:9100", tcp, nft.Statement{}},
		"forwarded from guest, ICMP":  {nft.HookForward, "filter", "k6t-eth0", "eth0", "192.0.2.1:0", icmp, nft.Statement{Kind: nft.StatementDrop}},
		"excluded network, ICMP":      {nft.HookForward, "filter", "k6t-eth0", "eth0", "10.1.2.3:0", icmp, nft.Statement{Kind: nft.StatementAccept}},
		"pod to an exposed port":      {nft.HookOutput, "nat", "", "", "10.244.0.8:8080", tcp, guest},
		"pod to its own port":         {nft.HookOutput, "nat", "", "", "127.0.0.1:15000", tcp, keep},
		"pod to elsewhere":            {nft.HookOutput, "nat", "", "", "192.0.2.1:8080", tcp, nft.Statement{}},
		"forwarded from guest, IPv6":  {nft.HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:443", tcp, nft.Statement{Kind: nft.StatementDrop}},
	} {
		t.Run(name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tc.destination)
			p := nft.Packet{Input: tc.in, Output: tc.out, Destination: to.Addr(), Protocol: tc.protocol, DestinationPort: to.Port()}
			if got := table.Evaluate(tc.hook, tc.kind, p); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestEvaluateIPv6(t *testing.T) {
	table, err := Build(dualPlan())
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp, icmp = 6, 17, 58
	keep := nft.Statement{Kind: nft.StatementKeep, Family: ruleio.FamilyIPv6}
	guest := nft.Statement{Kind: nft.StatementDNAT, Address: "fd10:0:2::2"}
	dropped := nft.Statement{Kind: nft.StatementDrop}
	for name, tc := range map[string]struct {
		hook        nft.Hook
		kind        string
		in, out     string
		destination string
		protocol    byte
		want        nft.Statement
	}{
		"guest to an included network":            {nft.HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:443", tcp, nft.Statement{Kind: nft.StatementRedirect, Port: 15001}},
		"guest to a network that is not included": {nft.HookPrerouting, "nat", "k6t-eth0", "", "[2001:db9::1]:443", tcp, keep},
		"guest to an excluded network":            {nft.HookPrerouting, "nat", "k6t-eth0", "", "[fd00:98::5]:443", tcp, keep},
		"guest to an excluded port":               {nft.HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:3306", tcp, keep},
		"guest's DNS":                             {nft.HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:53", udp, dropped},
		"guest's DNS, excluded":                   {nft.HookForward, "filter", "k6t-eth0", "eth0", "[fd00:99::7]:53", udp, nft.Statement{Kind: nft.StatementAccept}},
		"guest's DNS over TCP":                    {nft.HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:53", tcp, dropped},
		"guest's IPv4 DNS":                        {nft.HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:53", udp, nft.Statement{Kind: nft.StatementDNAT, Address: "127.0.0.1", Port: 15053}},
		"guest's ping":                            {nft.HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:0", icmp, dropped},
		"client to a direct port":                 {nft.HookPrerouting, "nat", "eth0", "", "[fd00:244::8]:22", tcp, guest},
		"client to a mesh port":                   {nft.HookPrerouting, "nat", "eth0", "", "[fd00:244::8]:8080", tcp, nft.Statement{Kind: nft.StatementRedirect, Port: 15006}},
		"pod to an exposed port":                  {nft.HookOutput, "nat", "", "", "[fd00:244::8]:8080", tcp, guest},
		"pod to an exposed port, loopback":        {nft.HookOutput, "nat", "", "", "[::1]:8080", tcp, keep},
		"query's zone":                            {nft.HookPrerouting, "filter", "k6t-eth0", "", "[2001:db8::1]:53", udp, nft.Statement{Kind: nft.StatementZone, Zone: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tc.destination)
			p := nft.Packet{Input: tc.in, Output: tc.out, Destination: to.Addr(), Protocol: tc.protocol, DestinationPort: to.Port()}
			if got := table.Evaluate(tc.hook, tc.kind, p); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
