// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

func podNAT(change func(*v1alpha1.PodNATConfigurationSpec)) v1alpha1.PodNATConfigurationSpec {
	return b.PodNAT("web", b.LauncherPod(b.VMI("web").Obj(), "abcde").Obj()).Spec(change).Obj().Spec
}

// uint16s returns the ports in ascending order.
func uint16s(ports []int32) []uint16 {
	var out []uint16
	for _, p := range slices.Sorted(slices.Values(ports)) {
		out = append(out, uint16(p)) //nolint:gosec // Ports.
	}
	return out
}

var (
	update       = flag.Bool("update", false, "write the proxy's ports to the example")
	exampledList = regexp.MustCompile(`localPorts: \[.*\]`)
)

// TestPlanOfExample plans the example in the bundle, which lists all ports of
// the proxy.
func TestPlanOfExample(t *testing.T) {
	const path = "../../config/manifests/examples/podnatconfiguration.yaml"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		list := strings.ReplaceAll(strings.Trim(fmt.Sprint(uint16s(validate.ProxyLocalPorts)), "[]"), " ", ", ")
		raw = exampledList.ReplaceAll(raw, []byte("localPorts: ["+list+"]"))
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var o v1alpha1.PodNATConfiguration
	if err := yaml.UnmarshalStrict(raw, &o); err != nil {
		t.Fatal(err)
	}
	if _, err := natplan.Plan(o.Spec, []string{"10.244.0.7"}); err != nil {
		t.Errorf("%s: %v; -update writes the list of ports", path, err)
	}
}

func TestPlan(t *testing.T) {
	got, err := natplan.Plan(podNAT(func(s *v1alpha1.PodNATConfigurationSpec) {
		s.Proxy.LocalPorts = slices.Concat([]int32{60000}, validate.ProxyLocalPorts, validate.ProxyLocalPorts[:1])
		s.Inbound = v1alpha1.InboundRules{Mesh: []int32{8443, 8080}, DirectTCP: []int32{5900, 22}, DirectUDP: []int32{8080, 53}, ExcludePorts: []v1alpha1.PortRange{{Port: 20, EndPort: 30}, {Protocol: "UDP", Port: 54, EndPort: 60}}}
		s.Unmeshed, s.DNS, s.Proxy.DNSPort = v1alpha1.UnmeshedPolicyDrop, v1alpha1.DNSPolicyProxy, 15053
		s.Outbound = v1alpha1.OutboundRules{
			ExcludePorts: []v1alpha1.PortRange{{Port: 443}, {Port: 25}, {Port: 443}, {Protocol: "UDP", Port: 150, EndPort: 250}, {Protocol: "UDP", Port: 100, EndPort: 200}},
			IncludeCIDRs: []string{"192.168.0.0/16", "192.168.1.0/24"},
			ExcludeCIDRs: []string{"10.0.1.0/24", "10.0.0.0/23", "172.16.0.0/12", "10.0.0.0/24"},
		}
	}), []string{"fd00::8", "10.244.0.8"})
	if err != nil {
		t.Fatal(err)
	}
	want := &ruleio.NATPlan{
		PodInterface: "eth0",
		Bridge:       "k6t-eth0",
		Families:     []ruleio.Family{{Name: "ip", Guest: "10.0.2.2", Gateway: "10.0.2.1", Pod: "10.244.0.8"}},
		Proxy: ruleio.Proxy{
			InboundPort: 15006, OutboundPort: 15001,
			LocalPorts: append(uint16s(validate.ProxyLocalPorts), 60000),
		},
		Inbound: ruleio.Inbound{Mesh: []uint16{8080, 8443}, DirectTCP: []ruleio.PortRange{{First: 20, Last: 30}, {First: 5900, Last: 5900}}, DirectUDP: []ruleio.PortRange{{First: 53, Last: 53}, {First: 54, Last: 60}, {First: 8080, Last: 8080}}},
		Outbound: ruleio.Outbound{
			ExcludePorts: ruleio.Ports(25, 443), ExcludeUDP: []ruleio.PortRange{{First: 100, Last: 250}},
			ExcludeCIDRs: []string{"10.0.0.0/23", "172.16.0.0/12"}, IncludeCIDRs: []string{"192.168.0.0/16"},
		},
		Unmeshed: ruleio.UnmeshedDrop,
		DNS:      &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: 15053},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestPlanRejects(t *testing.T) {
	type spec = v1alpha1.PodNATConfigurationSpec
	for name, tc := range map[string]struct {
		change func(*spec)
		ips    []string
		want   []string
	}{
		"mesh port of the proxy":    {change: func(s *spec) { s.Inbound.Mesh = []int32{15021} }, want: []string{"ReservedPort spec.inbound.mesh[0]"}},
		"direct port of the proxy":  {change: func(s *spec) { s.Inbound.DirectTCP = []int32{15000} }, want: []string{"ReservedPort spec.inbound.directTCP[0]"}},
		"direct port of migration":  {change: func(s *spec) { s.Inbound.DirectTCP = []int32{49153} }, want: []string{"ReservedPort spec.inbound.directTCP[0]"}},
		"port of a further service": {change: func(s *spec) { s.Proxy.LocalPorts = append(s.Proxy.LocalPorts, 8080) }, want: []string{"ReservedPort spec.inbound.mesh[0]"}},
		"a port of a probe is closed": {
			change: func(s *spec) { s.ProbedPorts = []int32{8080, 8081} }, want: []string{"InvalidPort spec.probedPorts[1]"},
		},
		"a probe of a UDP port": {
			change: func(s *spec) { s.ProbedPorts, s.Inbound.DirectUDP = []int32{9050}, []int32{9050} },
			want:   []string{"InvalidPort spec.probedPorts[0]"},
		},
		"local port missing": {
			change: func(s *spec) {
				s.Proxy.LocalPorts = slices.DeleteFunc(s.Proxy.LocalPorts, func(p int32) bool { return p == 15021 })
			},
			want: []string{"ReservedPort spec.proxy.localPorts"},
		},
		"redirect target not kept local": {
			change: func(s *spec) { s.Proxy.InboundPort = 16006 }, want: []string{"ReservedPort spec.proxy.localPorts"},
		},
		"same inbound and outbound port": {
			change: func(s *spec) { s.Proxy.InboundPort = 15001 }, want: []string{"InvalidPort spec.proxy.inboundPort"},
		},
		"invalid ports": {
			change: func(s *spec) {
				s.Inbound = v1alpha1.InboundRules{Mesh: []int32{0}, DirectTCP: []int32{70000}, DirectUDP: []int32{-1}}
				s.Outbound.ExcludePorts = []v1alpha1.PortRange{{Port: 65536}}
			},
			want: []string{
				"InvalidPort spec.inbound.mesh[0]", "InvalidPort spec.inbound.directTCP[0]", "InvalidPort spec.inbound.directUDP[0]",
				"InvalidPort spec.outbound.excludePorts[0].port",
			},
		},
		"duplicate ports": {
			change: func(s *spec) {
				s.Inbound = v1alpha1.InboundRules{Mesh: []int32{80, 80}, DirectTCP: []int32{80}, DirectUDP: []int32{53, 53}}
			},
			want: []string{"InvalidPort spec.inbound.mesh[1]", "InvalidPort spec.inbound.directTCP[0]", "InvalidPort spec.inbound.directUDP[1]"},
		},
		"gate's ports":    {change: func(s *spec) { s.Gate = v1alpha1.GatePorts{Port: 80, AnswerPort: 81} }, want: []string{"InvalidPort spec.gate"}},
		"no resolver":     {change: func(s *spec) { s.DNS = v1alpha1.DNSPolicyProxy }, want: []string{"InvalidSpec spec.dns"}},
		"resolver's port": {change: func(s *spec) { s.Proxy.DNSPort = 65536 }, want: []string{"InvalidPort spec.proxy.dnsPort"}},
		"network":         {change: func(s *spec) { s.Outbound.ExcludeCIDRs = []string{"10.0.0.0/8", "x"} }, want: []string{"InvalidCIDR spec.outbound.excludeCIDRs[1]"}},
		"interface names": {change: func(s *spec) { s.Interfaces = v1alpha1.PodInterfaces{Pod: `e"; flush`, Bridge: "k6t-much-too-long"} }, want: []string{"InvalidSpec spec.interfaces.pod", "InvalidSpec spec.interfaces.bridge"}},
		"one interface":   {change: func(s *spec) { s.Interfaces.Bridge = "eth0" }, want: []string{"InvalidSpec spec.interfaces.bridge"}},
		"no family":       {change: func(s *spec) { s.Families = nil }, want: []string{"InvalidSpec spec.families"}},
		"IPv4 as IPv6":    {change: func(s *spec) { s.Families[0].Family = "IPv6" }, want: []string{"InvalidSpec spec.families[0].guest"}},
		"unknown family":  {change: func(s *spec) { s.Families[0].Family = "IPX" }, want: []string{"InvalidSpec spec.families[0].family"}},
		"family twice":    {change: func(s *spec) { s.Families = append(s.Families, s.Families[0]) }, want: []string{"InvalidSpec spec.families[1].family"}},
		"host bits":       {change: func(s *spec) { s.Outbound.ExcludeCIDRs = []string{"10.96.0.5/16"} }, want: []string{"InvalidCIDR spec.outbound.excludeCIDRs[0]"}},
		"IPv4 in IPv6":    {change: func(s *spec) { s.Outbound.IncludeCIDRs = []string{"::ffff:10.0.0.0/104"} }, want: []string{"InvalidCIDR spec.outbound.includeCIDRs[0]"}},
		"DNS to a resolver on ::1": {
			change: func(s *spec) {
				s.Families = []v1alpha1.AddressFamily{{Family: "IPv6", Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1"}}
				s.DNS, s.Proxy.DNSPort = v1alpha1.DNSPolicyProxy, 15053
			},
			ips: []string{"fd00::8"}, want: []string{"InvalidSpec spec.dns"},
		},
		"guest address":    {change: func(s *spec) { s.Families[0].Guest = "fd10::2" }, want: []string{"InvalidSpec spec.families[0].guest"}},
		"gateway address":  {change: func(s *spec) { s.Families[0].Gateway = "" }, want: []string{"InvalidSpec spec.families[0].gateway"}},
		"guest is gateway": {change: func(s *spec) { s.Families[0].Gateway = "10.0.2.2" }, want: []string{"InvalidSpec spec.families[0].guest"}},
		"pod in the guest's network": {
			change: func(*spec) {}, ips: []string{"10.0.2.2"}, want: []string{"InvalidCIDR spec.families[0].guest"},
		},
		"pod without IPv4": {change: func(*spec) {}, ips: []string{"fd00::8"}, want: []string{"InvalidSpec status.podIPs"}},
	} {
		t.Run(name, func(t *testing.T) {
			ips := tc.ips
			if ips == nil {
				ips = []string{"10.244.0.8"}
			}
			plan, err := natplan.Plan(podNAT(tc.change), ips)
			if plan != nil {
				t.Errorf("a rejected configuration resulted in a plan")
			}
			if diff := cmp.Diff(tc.want, validatetest.Rejections(err)); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanWithoutPodAddress(t *testing.T) {
	_, err := natplan.Plan(podNAT(func(*v1alpha1.PodNATConfigurationSpec) {}), nil)
	if _, invalid := validate.FirstInvalid(err); !errors.Is(err, natplan.ErrNoPodAddress) || invalid {
		t.Errorf("got %v, want only %v", err, natplan.ErrNoPodAddress)
	}
}

// TestPlanOfConfiguration checks that every accepted spec has a plan that fits
// in a request.
func TestPlanOfConfiguration(t *testing.T) {
	mvm := b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22), b.UDP("dns", 53)).ExcludePorts(25).ExcludeCIDRs("10.96.0.0/16").Obj()
	if err := validate.Spec(mvm); err != nil {
		t.Fatal(err)
	}
	vmi := b.VMI("web").Obj()
	pod := b.LauncherPod(vmi, "abcde").IP("10.244.0.8").Obj()
	spec, err := natplan.ConfigurationSpec(mvm, natplan.Facts{Pod: pod, VMI: vmi})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := natplan.Plan(spec, []string{pod.Status.PodIP})
	if err != nil {
		t.Fatal(err)
	}
	req := ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{{
		Operation: ruleio.OperationApply, PodUID: string(pod.UID), PodIPs: []string{pod.Status.PodIP}, Plan: plan,
	}}}
	encoded, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ruleio.DecodeRequest(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(req, back); diff != "" {
		t.Errorf("request (-sent +received):\n%s", diff)
	}
}

// TestPlanIgnoresOrder checks that the order of lists does not affect the plan,
// and that merged networks cover exactly the addresses of the given networks.
func TestPlanIgnoresOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // Test data that has to be the same in each run.
	for range 200 {
		cidrs := make([]string, 0, 12)
		for range 1 + r.IntN(12) {
			a := netip.AddrFrom4([4]byte{10, octet(r, 4), octet(r, 4), octet(r, 256)})
			cidrs = append(cidrs, netip.PrefixFrom(a, 8+r.IntN(25)).Masked().String())
		}
		ports := r.Perm(40)
		spec := func(s *v1alpha1.PodNATConfigurationSpec) {
			s.Outbound.ExcludeCIDRs = slices.Clone(cidrs)
			s.Inbound.Mesh = nil
			for _, p := range ports {
				s.Inbound.Mesh = append(s.Inbound.Mesh, int32(p)+1) //nolint:gosec // At most 40.
			}
		}
		first, err := natplan.Plan(podNAT(spec), []string{"10.244.0.8"})
		if err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(cidrs), func(i, j int) { cidrs[i], cidrs[j] = cidrs[j], cidrs[i] })
		r.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
		second, err := natplan.Plan(podNAT(spec), []string{"10.244.0.8"})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := encode(t, first), encode(t, second); a != b {
			t.Fatalf("different orders result in different plans:\n%s\n%s", a, b)
		}
		for range 100 {
			a := netip.AddrFrom4([4]byte{10, octet(r, 5), octet(r, 5), octet(r, 256)})
			if in(a, cidrs) != in(a, first.Outbound.ExcludeCIDRs) {
				t.Fatalf("%v is covered by only one of %v and %v", a, cidrs, first.Outbound.ExcludeCIDRs)
			}
		}
	}
}

func in(a netip.Addr, cidrs []string) bool {
	return slices.ContainsFunc(cidrs, func(s string) bool { return netip.MustParsePrefix(s).Contains(a) })
}

func encode(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// octet returns a random part of an address, less than n.
func octet(r *rand.Rand, n uint32) byte {
	return byte(r.Uint32N(n) & 0xff)
}
