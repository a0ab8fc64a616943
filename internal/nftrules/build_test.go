// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/ruleio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fullPlan uses every list of a plan.
func fullPlan() ruleio.Plan {
	return ruleio.Plan{
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

// familyIPv6 is the second family of a pod with both.
var familyIPv6 = ruleio.Family{Name: ruleio.FamilyIPv6, Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1", Pod: "fd00:244::8"}

// dualPlan uses every list of a plan of both families.
func dualPlan() ruleio.Plan {
	p := fullPlan()
	p.Families = append(p.Families, familyIPv6)
	p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, "fd00:98::/32", "fd00:99::7/128")
	p.Outbound.IncludeCIDRs = []string{"172.16.0.0/12", "2001:db8::/32"}
	p.Unmeshed = ruleio.UnmeshedDrop
	p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: 15053}
	return p
}

func with(change func(p *ruleio.Plan)) ruleio.Plan {
	p := fullPlan()
	change(&p)
	return p
}

// goldenPlans are kept in testdata as nft lists them.
var goldenPlans = map[string]ruleio.Plan{
	"full": fullPlan(),
	"nothing-listed": with(func(p *ruleio.Plan) {
		p.Proxy.LocalPorts, p.Inbound, p.Outbound = nil, ruleio.Inbound{}, ruleio.Outbound{}
	}),
	"mesh-only": with(func(p *ruleio.Plan) {
		p.Inbound, p.Outbound = ruleio.Inbound{Mesh: []uint16{443}}, ruleio.Outbound{}
	}),
	"direct-only": with(func(p *ruleio.Plan) {
		p.Inbound, p.Outbound = ruleio.Inbound{DirectTCP: ruleio.Ports(22)}, ruleio.Outbound{}
	}),
	"gate": with(func(p *ruleio.Plan) {
		p.Inbound, p.Outbound = ruleio.Inbound{Mesh: []uint16{443}}, ruleio.Outbound{}
		p.Gate = &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}
	}),
	"unmeshed-dropped": with(func(p *ruleio.Plan) {
		p.Unmeshed = ruleio.UnmeshedDrop
		p.Inbound.DirectTCP = []ruleio.PortRange{{First: 22, Last: 22}, {First: 9000, Last: 9100}}
		p.Inbound.DirectUDP = []ruleio.PortRange{{First: 10000, Last: 20000}}
		p.Outbound.ExcludeUDP = []ruleio.PortRange{{First: 50, Last: 60}, {First: 123, Last: 123}}
		p.Outbound.IncludeCIDRs = []string{"10.0.0.0/8", "172.16.0.0/12"}
	}),
	"dns-direct": with(func(p *ruleio.Plan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053} }),
	"dns-proxy":  with(func(p *ruleio.Plan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: 15053} }),
	"dual-stack": dualPlan(),
	"ipv6-only": with(func(p *ruleio.Plan) {
		p.Families = []ruleio.Family{familyIPv6}
		p.Unmeshed = ruleio.UnmeshedDrop
		p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053}
		p.Outbound = ruleio.Outbound{ExcludeCIDRs: []string{"::/0"}, IncludeCIDRs: []string{"10.0.0.0/8"}}
	}),
	"ipv4-beside-ipv6": with(func(p *ruleio.Plan) {
		p.Unmeshed = ruleio.UnmeshedDrop
		p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, "fd00:98::/32")
	}),
	"ambient": with(func(p *ruleio.Plan) {
		p.DataPlane = ruleio.DataPlaneAmbient
		p.Proxy.LocalPorts = []uint16{15001, 15006, 15008, 15053}
		p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053}
	}),
	"everything-excluded": with(func(p *ruleio.Plan) {
		p.Outbound = ruleio.Outbound{ExcludePorts: ruleio.Ports(1, 65535), ExcludeCIDRs: []string{"0.0.0.0/0"}}
	}),
}

func TestBuildGolden(t *testing.T) {
	for name, p := range goldenPlans {
		t.Run(name, func(t *testing.T) {
			table, err := Build(p)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(table.Text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), table.Text()); diff != "" {
				t.Errorf("run with -update if this is meant (-golden +got):\n%s", diff)
			}
		})
	}
}

// TestBuildKeepsTheDesign checks what every table must hold to, whatever the
// plan.
func TestBuildKeepsTheDesign(t *testing.T) {
	for name, p := range goldenPlans {
		t.Run(name, func(t *testing.T) {
			table, err := Build(p)
			if err != nil {
				t.Fatal(err)
			}
			used := map[string]bool{}
			for _, c := range table.Chains {
				if c.Priority == -100 || c.Priority == 100 || c.Priority == -150 {
					t.Errorf("chain %s has the priority of KubeVirt's and Istio's chains", c.Name)
				}
				for _, r := range c.Rules {
					checkRule(t, table, c, r, used)
				}
			}
			for _, s := range table.Sets {
				if len(s.Elements) == 0 {
					t.Errorf("set %s is empty", s.Name)
				}
				if !used[s.Name] {
					t.Errorf("no rule uses set %s", s.Name)
				}
			}
		})
	}
}

// checkFilter says whether the rule filters, which only those of one hook may.
func checkFilter(t *testing.T, c Chain, r Rule) bool {
	t.Helper()
	filters := r.Statement.Kind == StatementDrop || r.Statement.Kind == StatementAccept
	if filters != (c.Hook == HookForward) {
		t.Errorf("only rules of the forward hook filter: chain %s: %s", c.Name, r.Text())
	}
	if (r.Statement.Kind == StatementDrop) != (r.Total == TotalDropped) {
		t.Errorf("dropped packets are counted as %q: %s", r.Total, r.Text())
	}
	return filters
}

func checkRule(t *testing.T, table Table, c Chain, r Rule, used map[string]bool) {
	t.Helper()
	if !r.Counter || r.Comment == "" || len(r.Comment) > MaxComment || strings.Contains(r.Comment, `"`) {
		t.Errorf("rule lacks a counter or a comment that nft can read: %s", r.Text())
	}
	for _, repair := range r.Repairs {
		if !strings.Contains(r.Comment, string(repair)) || repair.Summary() == "" {
			t.Errorf("comment does not name repair %s: %s", repair, r.Text())
		}
	}
	families := map[Match]bool{}
	for _, m := range r.Matches {
		for _, family := range []Match{m, implied[m.Field]} {
			if family == ipv4 || family == ipv6 {
				families[family] = true
			}
		}
		if m.Set != "" && table.Set(m.Set) == nil {
			t.Errorf("no set %s: %s", m.Set, r.Text())
		}
		used[m.Set] = true
	}
	filters := checkFilter(t, c, r)
	marks := r.Statement.Kind == StatementMark || r.Statement.Kind == StatementConntrackMark
	if len(families) > 1 || len(families) == 0 && !filters && !marks {
		t.Errorf("rule is not about one family: %s", r.Text())
	}
}

func TestBuildLeavesThePlanAlone(t *testing.T) {
	p := fullPlan()
	if _, err := Build(p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullPlan(), p); diff != "" {
		t.Errorf("the plan changed (-before +after):\n%s", diff)
	}
}

func TestDigest(t *testing.T) {
	digests := map[string]string{}
	for name, p := range goldenPlans {
		table, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		if table.Digest() != again.Digest() {
			t.Errorf("%s: digests of equal plans differ", name)
		}
		if other, taken := digests[table.Digest()]; taken {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		digests[table.Digest()] = name
	}
}
