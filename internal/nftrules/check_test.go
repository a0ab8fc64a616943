// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"errors"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/nftrules/plantest"
	"meshvm.io/meshvm/internal/ruleio"
)

func TestCheckRejects(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(p *ruleio.NATPlan)
		// want is a substring of the error: the field and the problem.
		want string
	}{
		"no pod interface":               {func(p *ruleio.NATPlan) { p.PodInterface = "" }, "plan.podInterface is empty"},
		"long interface":                 {func(p *ruleio.NATPlan) { p.Bridge = "k6t-0123456789ab" }, `plan.bridge "k6t-0123456789ab" is longer than 15 bytes`},
		"wildcard interface":             {func(p *ruleio.NATPlan) { p.Bridge = "k6t*" }, "plan.bridge"},
		"quote in interface":             {func(p *ruleio.NATPlan) { p.PodInterface = `a" accept` }, "plan.podInterface"},
		"parent directory":               {func(p *ruleio.NATPlan) { p.PodInterface = ".." }, "plan.podInterface"},
		"one interface":                  {func(p *ruleio.NATPlan) { p.Bridge = p.PodInterface }, "plan.bridge"},
		"no family":                      {func(p *ruleio.NATPlan) { p.Families = nil }, "plan.families is empty"},
		"family twice":                   {func(p *ruleio.NATPlan) { p.Families = append(p.Families, p.Families[0]) }, "plan.families[1].name"},
		"family unknown":                 {func(p *ruleio.NATPlan) { p.Families[0].Name = "arp" }, `plan.families[0].name "arp" is neither "ip" nor "ip6"`},
		"IPv4 as IPv6":                   {func(p *ruleio.NATPlan) { p.Families[0].Name = "ip6" }, `plan.families[0].guest "10.0.2.2" is not an IPv6 address`},
		"IPv6 first":                     {func(p *ruleio.NATPlan) { p.Families = append([]ruleio.Family{plantest.IPv6}, p.Families...) }, `plan.families[1].name "ip" must precede "ip6"`},
		"guest in long form":             {func(p *ruleio.NATPlan) { p.Families[0] = ruleio.Family{Name: "ip6", Guest: "fd10:0:2:0::2"} }, "plan.families[0].guest"},
		"pod on IPv6 loopback":           {func(p *ruleio.NATPlan) { p.Families[0] = plantest.IPv6; p.Families[0].Pod = "::1" }, "plan.families[0].pod"},
		"pod of IPv4 in IPv6":            {func(p *ruleio.NATPlan) { p.Families[0] = plantest.IPv6; p.Families[0].Pod = "::ffff:10.0.0.1" }, "plan.families[0].pod"},
		"guest with zone":                {func(p *ruleio.NATPlan) { p.Families[0] = plantest.IPv6; p.Families[0].Guest = "fe80::2%eth0" }, "plan.families[0].guest"},
		"guest is no address":            {func(p *ruleio.NATPlan) { p.Families[0].Guest = "guest" }, "plan.families[0].guest"},
		"guest has leading zeros":        {func(p *ruleio.NATPlan) { p.Families[0].Guest = "10.0.02.2" }, "plan.families[0].guest"},
		"gateway is IPv6":                {func(p *ruleio.NATPlan) { p.Families[0].Gateway = "fd10::1" }, "plan.families[0].gateway"},
		"pod on loopback":                {func(p *ruleio.NATPlan) { p.Families[0].Pod = "127.0.0.1" }, "plan.families[0].pod"},
		"pod is broadcast":               {func(p *ruleio.NATPlan) { p.Families[0].Pod = "255.255.255.255" }, "plan.families[0].pod"},
		"guest is the gateway":           {func(p *ruleio.NATPlan) { p.Families[0].Guest = p.Families[0].Gateway }, "plan.families[0] has the same address twice"},
		"no inbound port":                {func(p *ruleio.NATPlan) { p.Proxy.InboundPort = 0 }, "plan.proxy.inboundPort is 0"},
		"no outbound port":               {func(p *ruleio.NATPlan) { p.Proxy.OutboundPort = 0 }, "plan.proxy.outboundPort is 0"},
		"mesh port 0":                    {func(p *ruleio.NATPlan) { p.Inbound.Mesh = []uint16{0} }, "plan.inbound.mesh[0] is 0"},
		"ports not ascending":            {func(p *ruleio.NATPlan) { p.Inbound.DirectUDP = ruleio.Ports(53, 52) }, "plan.inbound.directUDP[1]"},
		"port twice":                     {func(p *ruleio.NATPlan) { p.Outbound.ExcludePorts = ruleio.Ports(80, 80) }, "plan.outbound.excludePorts[1]"},
		"mesh and direct":                {func(p *ruleio.NATPlan) { p.Inbound.DirectTCP = ruleio.Ports(8080) }, "plan.inbound.directTCP[0] 8080 is also in plan.inbound.mesh"},
		"mesh and proxy":                 {func(p *ruleio.NATPlan) { p.Inbound.Mesh = []uint16{15021} }, "plan.inbound.mesh[0] 15021 is also in plan.proxy.localPorts"},
		"direct and proxy":               {func(p *ruleio.NATPlan) { p.Inbound.DirectTCP = ruleio.Ports(15090) }, "plan.inbound.directTCP[0]"},
		"network is none":                {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"10.0.0.0"} }, "plan.outbound.excludeCIDRs[0]"},
		"IPv4 network in IPv6":           {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"::ffff:10.0.0.0/104"} }, "plan.outbound.excludeCIDRs[0]"},
		"IPv6 network of IPv4":           {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"::10.0.0.0/104"} }, "plan.outbound.excludeCIDRs[0]"},
		"IPv6 host bits":                 {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"fd00::1/8"} }, "fd00::/8 is"},
		"IPv6 before IPv4":               {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"fd00::/8", "10.0.0.0/8"} }, "plan.outbound.excludeCIDRs[1]"},
		"network has host bits":          {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"10.0.0.1/8"} }, "10.0.0.0/8 is"},
		"network inside another":         {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"10.0.0.0/8", "10.1.0.0/16"} }, "plan.outbound.excludeCIDRs[1] 10.1.0.0/16 overlaps 10.0.0.0/8"},
		"a network next to all networks": {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"0.0.0.0/0", "10.0.0.0/8"} }, "overlaps"},
		"networks not in order":          {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"11.0.0.0/8", "10.0.0.0/8"} }, "plan.outbound.excludeCIDRs[1]"},
		"prefix length impossible":       {func(p *ruleio.NATPlan) { p.Outbound.ExcludeCIDRs = []string{"10.0.0.0/33"} }, "plan.outbound.excludeCIDRs[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Build(with(tc.change))
			if !errors.Is(err, ErrInvalidPlan) {
				t.Fatalf("error %v, want ErrInvalidPlan", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("message %q does not contain %q", err, tc.want)
			}
		})
	}
}

func TestCheckReportsEveryError(t *testing.T) {
	err := Check(ruleio.NATPlan{})
	for _, field := range []string{"plan.podInterface", "plan.bridge", "plan.families", "plan.proxy.inboundPort", "plan.proxy.outboundPort"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not contain %s", err, field)
		}
	}
}

func TestCheckAllowsTheSamePortForTCPAndUDP(t *testing.T) {
	if err := Check(with(func(p *ruleio.NATPlan) { p.Inbound.DirectUDP = ruleio.Ports(8080) })); err != nil {
		t.Error(err)
	}
}
