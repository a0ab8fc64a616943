// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"net/netip"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

func TestEvaluate(t *testing.T) {
	table, err := Build(with(func(p *ruleio.Plan) {
		p.Unmeshed = ruleio.UnmeshedDrop
		p.Inbound.DirectTCP = []ruleio.PortRange{{First: 22, Last: 22}, {First: 9000, Last: 9100}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp, icmp = 6, 17, 1
	guest := Statement{Kind: StatementDNAT, Address: "10.0.2.2"}
	keep := Statement{Kind: StatementKeep, Family: ruleio.FamilyIPv4}
	outbound := Statement{Kind: StatementRedirect, Port: 15001}
	for name, tc := range map[string]struct {
		hook        Hook
		kind        string
		in, out     string
		destination string
		protocol    byte
		want        Statement
	}{
		"guest to anywhere":           {HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:443", tcp, outbound},
		"guest to an excluded port":   {HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:3306", tcp, keep},
		"guest to loopback, excluded": {HookPrerouting, "nat", "k6t-eth0", "", "127.0.0.1:3306", tcp, outbound},
		"guest's UDP":                 {HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:3306", udp, Statement{}},
		"guest over IPv6":             {HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:443", tcp, Statement{}},
		"client to a range":           {HookPrerouting, "nat", "eth0", "", "10.244.0.8:9050", tcp, guest},
		"client to the proxy":         {HookPrerouting, "nat", "eth0", "", "10.244.0.8:15021", tcp, keep},
		"client to a closed port":     {HookPrerouting, "nat", "eth0", "", "10.244.0.8:7777", tcp, Statement{}},
		"forwarded to a closed port":  {HookForward, "filter", "eth0", "k6t-eth0", "10.0.2.2:7777", tcp, Statement{Kind: StatementDrop}},
		"forwarded to a range":        {HookForward, "filter", "eth0", "k6t-eth0", "10.0.2.2:9100", tcp, Statement{}},
		"forwarded from guest, ICMP":  {HookForward, "filter", "k6t-eth0", "eth0", "192.0.2.1:0", icmp, Statement{Kind: StatementDrop}},
		"excluded network, ICMP":      {HookForward, "filter", "k6t-eth0", "eth0", "10.1.2.3:0", icmp, Statement{Kind: StatementAccept}},
		"pod to an exposed port":      {HookOutput, "nat", "", "", "10.244.0.8:8080", tcp, guest},
		"pod to its own port":         {HookOutput, "nat", "", "", "127.0.0.1:15000", tcp, keep},
		"pod to elsewhere":            {HookOutput, "nat", "", "", "192.0.2.1:8080", tcp, Statement{}},
		"forwarded from guest, IPv6":  {HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:443", tcp, Statement{Kind: StatementDrop}},
	} {
		t.Run(name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tc.destination)
			p := Packet{Input: tc.in, Output: tc.out, Destination: to.Addr(), Protocol: tc.protocol, DestinationPort: to.Port()}
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
	keep := Statement{Kind: StatementKeep, Family: ruleio.FamilyIPv6}
	guest := Statement{Kind: StatementDNAT, Address: "fd10:0:2::2"}
	dropped := Statement{Kind: StatementDrop}
	for name, tc := range map[string]struct {
		hook        Hook
		kind        string
		in, out     string
		destination string
		protocol    byte
		want        Statement
	}{
		"guest to an included network":     {HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:443", tcp, Statement{Kind: StatementRedirect, Port: 15001}},
		"guest to one that is not":         {HookPrerouting, "nat", "k6t-eth0", "", "[2001:db9::1]:443", tcp, keep},
		"guest to an excluded network":     {HookPrerouting, "nat", "k6t-eth0", "", "[fd00:98::5]:443", tcp, keep},
		"guest to an excluded port":        {HookPrerouting, "nat", "k6t-eth0", "", "[2001:db8::1]:3306", tcp, keep},
		"guest's DNS":                      {HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:53", udp, dropped},
		"guest's DNS, excluded":            {HookForward, "filter", "k6t-eth0", "eth0", "[fd00:99::7]:53", udp, Statement{Kind: StatementAccept}},
		"guest's DNS over TCP":             {HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:53", tcp, dropped},
		"guest's IPv4 DNS":                 {HookPrerouting, "nat", "k6t-eth0", "", "192.0.2.1:53", udp, Statement{Kind: StatementDNAT, Address: "127.0.0.1", Port: 15053}},
		"guest's ping":                     {HookForward, "filter", "k6t-eth0", "eth0", "[2001:db8::1]:0", icmp, dropped},
		"client to a direct port":          {HookPrerouting, "nat", "eth0", "", "[fd00:244::8]:22", tcp, guest},
		"client to a mesh port":            {HookPrerouting, "nat", "eth0", "", "[fd00:244::8]:8080", tcp, Statement{Kind: StatementRedirect, Port: 15006}},
		"pod to an exposed port":           {HookOutput, "nat", "", "", "[fd00:244::8]:8080", tcp, guest},
		"pod to an exposed port, loopback": {HookOutput, "nat", "", "", "[::1]:8080", tcp, keep},
		"query's zone":                     {HookPrerouting, "filter", "k6t-eth0", "", "[2001:db8::1]:53", udp, Statement{Kind: StatementZone, Zone: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			to := netip.MustParseAddrPort(tc.destination)
			p := Packet{Input: tc.in, Output: tc.out, Destination: to.Addr(), Protocol: tc.protocol, DestinationPort: to.Port()}
			if got := table.Evaluate(tc.hook, tc.kind, p); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
