// SPDX-License-Identifier: Apache-2.0

// Package plantest contains plans for the tests of rules and of their encoding.
// Only tests import it.
package plantest

import "meshvm.io/meshvm/internal/ruleio"

// Full returns a plan with all lists.
func Full() ruleio.NATPlan {
	return ruleio.NATPlan{
		PodInterface: "eth0",
		Bridge:       "k6t-eth0",
		Families:     []ruleio.Family{{Name: ruleio.FamilyIPv4, Guest: "10.0.2.2", Gateway: "10.0.2.1", Pod: "10.244.0.8"}},
		Proxy: ruleio.Proxy{
			InboundPort:  15006,
			OutboundPort: 15001,
			LocalPorts:   []uint16{15000, 15001, 15006, 15020, 15021, 15090},
		},
		Inbound: ruleio.Inbound{
			Mesh:      []uint16{80, 8080},
			DirectTCP: ruleio.Ports(22, 9000),
			DirectUDP: ruleio.Ports(53),
		},
		Outbound: ruleio.Outbound{
			ExcludePorts: ruleio.Ports(3306, 5432),
			ExcludeCIDRs: []string{"10.0.0.0/8", "198.51.100.7/32", "203.0.113.0/24"},
		},
	}
}

// IPv6 is the second family of a dual-stack pod.
var IPv6 = ruleio.Family{Name: ruleio.FamilyIPv6, Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1", Pod: "fd00:244::8"}

// Dual returns a plan with all lists of both families.
func Dual() ruleio.NATPlan {
	p := Full()
	p.Families = append(p.Families, IPv6)
	p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, "fd00:98::/32", "fd00:99::7/128")
	p.Outbound.IncludeCIDRs = []string{"172.16.0.0/12", "2001:db8::/32"}
	p.Unmeshed = ruleio.UnmeshedDrop
	p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: 15053}
	return p
}

// With returns Full after a change.
func With(change func(p *ruleio.NATPlan)) ruleio.NATPlan {
	p := Full()
	change(&p)
	return p
}

// All returns plans by the name of their golden file.
func All() map[string]ruleio.NATPlan {
	return map[string]ruleio.NATPlan{
		"full": Full(),
		"nothing-listed": With(func(p *ruleio.NATPlan) {
			p.Proxy.LocalPorts, p.Inbound, p.Outbound = nil, ruleio.Inbound{}, ruleio.Outbound{}
		}),
		"mesh-only": With(func(p *ruleio.NATPlan) {
			p.Inbound, p.Outbound = ruleio.Inbound{Mesh: []uint16{443}}, ruleio.Outbound{}
		}),
		"direct-only": With(func(p *ruleio.NATPlan) {
			p.Inbound, p.Outbound = ruleio.Inbound{DirectTCP: ruleio.Ports(22)}, ruleio.Outbound{}
		}),
		"gate": With(func(p *ruleio.NATPlan) {
			p.Inbound, p.Outbound = ruleio.Inbound{Mesh: []uint16{443}}, ruleio.Outbound{}
			p.Gate = &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}
		}),
		"unmeshed-dropped": With(func(p *ruleio.NATPlan) {
			p.Unmeshed = ruleio.UnmeshedDrop
			p.Inbound.DirectTCP = []ruleio.PortRange{{First: 22, Last: 22}, {First: 9000, Last: 9100}}
			p.Inbound.DirectUDP = []ruleio.PortRange{{First: 10000, Last: 20000}}
			p.Outbound.ExcludeUDP = []ruleio.PortRange{{First: 50, Last: 60}, {First: 123, Last: 123}}
			p.Outbound.IncludeCIDRs = []string{"10.0.0.0/8", "172.16.0.0/12"}
		}),
		"dns-direct": With(func(p *ruleio.NATPlan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053} }),
		"dns-proxy":  With(func(p *ruleio.NATPlan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: 15053} }),
		"dual-stack": Dual(),
		"ipv6-only": With(func(p *ruleio.NATPlan) {
			p.Families = []ruleio.Family{IPv6}
			p.Unmeshed = ruleio.UnmeshedDrop
			p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053}
			p.Outbound = ruleio.Outbound{ExcludeCIDRs: []string{"::/0"}, IncludeCIDRs: []string{"10.0.0.0/8"}}
		}),
		"ipv4-beside-ipv6": With(func(p *ruleio.NATPlan) {
			p.Unmeshed = ruleio.UnmeshedDrop
			p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, "fd00:98::/32")
		}),
		"ambient": With(func(p *ruleio.NATPlan) {
			p.DataPlane = ruleio.DataPlaneAmbient
			p.Proxy.LocalPorts = []uint16{15001, 15006, 15008, 15053}
			p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053}
		}),
		"everything-excluded": With(func(p *ruleio.NATPlan) {
			p.Outbound = ruleio.Outbound{ExcludePorts: ruleio.Ports(1, 65535), ExcludeCIDRs: []string{"0.0.0.0/0"}}
		}),
	}
}
