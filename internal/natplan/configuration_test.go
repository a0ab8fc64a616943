// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/validate"
)

func TestConfigurationSpec(t *testing.T) {
	base := func() v1alpha1.PodNATConfigurationSpec {
		return v1alpha1.PodNATConfigurationSpec{
			Pod:        v1alpha1.PodTarget{Name: "virt-launcher-web-abcde", UID: "pod-virt-launcher-web-abcde-uid"},
			Interfaces: v1alpha1.PodInterfaces{Pod: "eth0", Bridge: "k6t-eth0"},
			Families:   []v1alpha1.AddressFamily{{Family: "IPv4", Guest: "10.0.2.2", Gateway: "10.0.2.1"}},
			Proxy: v1alpha1.ProxyPorts{
				InboundPort: 15006, OutboundPort: 15001,
				LocalPorts: validate.ProxyLocalPorts,
			},
			Inbound: v1alpha1.InboundRules{Mesh: []int32{8080}},
		}
	}
	for name, tc := range map[string]struct {
		mvm    *b.MVMBuilder
		vmi    *b.VMIBuilder
		change func(*v1alpha1.PodNATConfigurationSpec)
	}{
		"defaults": {mvm: b.MVM("web"), vmi: b.VMI("web"), change: func(*v1alpha1.PodNATConfigurationSpec) {}},
		"ports sorted by the guest's number": {
			mvm: b.MVM("web").Ports(b.UDP("ntp", 123), b.UDP("dns", 53), b.Direct("vnc", 5900), b.Direct("ssh", 22), b.TLS("tls", 443, 8443), b.HTTP("http", 80, 8080)),
			vmi: b.VMI("web"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Inbound = v1alpha1.InboundRules{Mesh: []int32{8080, 8443}, DirectTCP: []int32{22, 5900}, DirectUDP: []int32{53, 123}}
			},
		},
		"exclusions in canonical form": {
			mvm: b.MVM("web").ExcludePorts(9000, 25, 9000).ExcludeCIDRs("192.168.1.0/24", "10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "192.168.1.0/25"),
			vmi: b.VMI("web"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Outbound = v1alpha1.OutboundRules{ExcludePorts: []v1alpha1.PortRange{{Port: 25}, {Port: 9000}}, ExcludeCIDRs: []string{"10.0.0.0/8", "192.168.1.0/24"}}
			},
		},
		"ranges, unmeshed traffic, reset": {
			mvm: b.MVM("web").ExcludeRanges(v1alpha1.PortRange{Protocol: "UDP", Port: 100, EndPort: 200}, v1alpha1.PortRange{Port: 5, EndPort: 5}).
				ExcludeInbound(v1alpha1.PortRange{Port: 2000, EndPort: 3000}, v1alpha1.PortRange{Protocol: "TCP", Port: 1000, EndPort: 2000}).
				IncludeCIDRs("10.0.0.0/8").Unmeshed(v1alpha1.UnmeshedPolicyDrop).OnChange(v1alpha1.ChangePolicyReset),
			vmi: b.VMI("web"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Inbound.ExcludePorts = []v1alpha1.PortRange{{Port: 1000, EndPort: 3000}}
				s.Outbound = v1alpha1.OutboundRules{
					ExcludePorts: []v1alpha1.PortRange{{Port: 5}, {Protocol: "UDP", Port: 100, EndPort: 200}},
					IncludeCIDRs: []string{"10.0.0.0/8"},
				}
				s.Unmeshed, s.OnChange = v1alpha1.UnmeshedPolicyDrop, v1alpha1.ChangePolicyReset
			},
		},
		"network of the running guest, with host bits": {
			mvm: b.MVM("web").Interface(b.Masquerade("default"), b.PodNetwork("10.9.9.0/24")),
			vmi: b.VMI("web").NetworkCIDR("172.20.5.9/16"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Families[0].Gateway, s.Families[0].Guest = "172.20.0.1", "172.20.0.2"
			},
		},
		"networks of both families": {
			mvm: b.MVM("web").ExcludeCIDRs("fd00:98::/32", "10.0.0.0/8", "FD00:98:1:0::/64").IncludeCIDRs("::/0"), vmi: b.VMI("web"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Outbound = v1alpha1.OutboundRules{ExcludeCIDRs: []string{"10.0.0.0/8", "fd00:98::/32"}, IncludeCIDRs: []string{"::/0"}}
			},
		},
		"CNI with another primary interface": {
			mvm: b.MVM("web"), vmi: b.VMI("web").PodInterface("lan", "net1").PodInterface("default", "ens3"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Interfaces = v1alpha1.PodInterfaces{Pod: "ens3", Bridge: "k6t-ens3"}
			},
		},
		"interface named by hash": {
			mvm: b.MVM("web"), vmi: b.VMI("web").PodInterface("default", "pod7e0055a6880"),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Interfaces = v1alpha1.PodInterfaces{Pod: "pod7e0055a6880", Bridge: "k6t-7e0055a6880"}
			},
		},
		"primary interface comes second": {
			mvm: b.MVM("web"),
			vmi: b.VMI("web").Interfaces(
				[]kubevirtv1.Interface{b.Bridge("lan"), b.Masquerade("main")},
				[]kubevirtv1.Network{{Name: "lan", NetworkSource: b.MultusNetwork("lan")}, {Name: "main", NetworkSource: b.PodNetwork("10.5.0.0/29")}},
			),
			change: func(s *v1alpha1.PodNATConfigurationSpec) {
				s.Families[0].Gateway, s.Families[0].Guest = "10.5.0.1", "10.5.0.2"
			},
		},
		"no interface filled in": {
			mvm: b.MVM("web"), vmi: b.VMI("web").Interfaces(nil, nil), change: func(*v1alpha1.PodNATConfigurationSpec) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			vmi := tc.vmi.Obj()
			got, err := natplan.ConfigurationSpec(tc.mvm.Obj(), natplan.Facts{Pod: b.LauncherPod(vmi, "abcde").IP("10.244.0.8").Obj(), VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			want := base()
			tc.change(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFamilies derives the families from the pod's addresses, from what its
// proxy carries, and from the guest's networks.
func TestFamilies(t *testing.T) {
	v4 := v1alpha1.AddressFamily{Family: "IPv4", Guest: "10.0.2.2", Gateway: "10.0.2.1"}
	v6 := v1alpha1.AddressFamily{Family: "IPv6", Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1"}
	proxy := func(value string) corev1.Container {
		return corev1.Container{Name: "istio-proxy", Env: []corev1.EnvVar{{Name: natplan.DualStack, Value: value}}}
	}
	for name, tc := range map[string]struct {
		ips    []string
		change func(*corev1.Pod)
		vmi    *b.VMIBuilder
		want   []v1alpha1.AddressFamily
	}{
		"IPv4":                           {ips: []string{"10.244.0.8"}, want: []v1alpha1.AddressFamily{v4}},
		"IPv6":                           {ips: []string{"fd00:244::8"}, want: []v1alpha1.AddressFamily{v6}},
		"both, sidecar of one":           {ips: []string{"10.244.0.8", "fd00:244::8"}, want: []v1alpha1.AddressFamily{v4}},
		"both, IPv6 first, one":          {ips: []string{"fd00:244::8", "10.244.0.8"}, want: []v1alpha1.AddressFamily{v4}},
		"both, switched off":             {ips: []string{"10.244.0.8", "fd00:244::8"}, change: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{proxy("false")} }, want: []v1alpha1.AddressFamily{v4}},
		"both, dual-stack sidecar":       {ips: []string{"10.244.0.8", "fd00:244::8"}, change: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{proxy("true")} }, want: []v1alpha1.AddressFamily{v4, v6}},
		"both, IPv6 first, dual sidecar": {ips: []string{"fd00:244::8", "10.244.0.8"}, change: func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{proxy("true")} }, want: []v1alpha1.AddressFamily{v4, v6}},
		"both, no sidecar":               {ips: []string{"10.244.0.8", "fd00:244::8"}, change: func(p *corev1.Pod) { p.Spec.InitContainers = nil }, want: []v1alpha1.AddressFamily{v4, v6}},
		"guest's networks, with host bits": {
			ips: []string{"10.244.0.8", "fd00:244::8"}, change: func(p *corev1.Pod) { p.Spec.InitContainers = nil },
			vmi: b.VMI("web").NetworkCIDR("172.20.5.9/16").NetworkIPv6CIDR("2001:db8:5::99/64"),
			want: []v1alpha1.AddressFamily{
				{Family: "IPv4", Guest: "172.20.0.2", Gateway: "172.20.0.1"},
				{Family: "IPv6", Guest: "2001:db8:5::2", Gateway: "2001:db8:5::1"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			vmi := b.VMI("web").Obj()
			if tc.vmi != nil {
				vmi = tc.vmi.Obj()
			}
			pod := b.LauncherPod(vmi, "abcde")
			for _, ip := range tc.ips {
				pod.IP(ip)
			}
			p := pod.Obj()
			if tc.change != nil {
				tc.change(p)
			}
			spec, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), natplan.Facts{Pod: p, VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, spec.Families); diff != "" {
				t.Errorf("families (-want +got):\n%s", diff)
			}
			plan, err := natplan.Plan(spec, tc.ips)
			if err != nil {
				t.Fatal(err)
			}
			if err := nftrules.Check(*plan); err != nil {
				t.Errorf("no table can be built from the plan: %v", err)
			}
		})
	}
}

func TestConfigurationSpecRejects(t *testing.T) {
	mvm, vmi := b.MVM("web").Obj(), b.VMI("web").Obj()
	pod := b.LauncherPod(vmi, "abcde").IP("10.244.0.8").Obj()
	bridged := b.VMI("web").Interfaces(
		[]kubevirtv1.Interface{b.Bridge("default")}, []kubevirtv1.Network{{Name: "default", NetworkSource: b.PodNetwork("")}},
	).Obj()
	withoutOwner := pod.DeepCopy()
	withoutOwner.OwnerReferences = nil
	foreign := pod.DeepCopy()
	foreign.Namespace = "other"
	for name, tc := range map[string]struct {
		mvm   *v1alpha1.MeshedVirtualMachine
		facts natplan.Facts
		want  v1alpha1.ConditionReason
		is    error
	}{
		"no facts":                {is: natplan.ErrIncompleteFacts},
		"no pod":                  {mvm: mvm, facts: natplan.Facts{VMI: vmi}, is: natplan.ErrIncompleteFacts},
		"no VMI":                  {mvm: mvm, facts: natplan.Facts{Pod: pod}, is: natplan.ErrIncompleteFacts},
		"other namespace":         {mvm: mvm, facts: natplan.Facts{Pod: foreign, VMI: vmi}, want: v1alpha1.ReasonNotALauncherPod},
		"not a virt-launcher pod": {mvm: mvm, facts: natplan.Facts{Pod: withoutOwner, VMI: vmi}, want: v1alpha1.ReasonNotALauncherPod},
		"pod of former VMI":       {mvm: mvm, facts: natplan.Facts{Pod: pod, VMI: b.VMI("web").UID("new").Obj()}, want: v1alpha1.ReasonNotALauncherPod},
		"bridge":                  {mvm: mvm, facts: natplan.Facts{Pod: pod, VMI: bridged}, want: v1alpha1.ReasonBridgeBinding},
		"guest network":           {mvm: mvm, facts: natplan.Facts{Pod: pod, VMI: b.VMI("web").NetworkCIDR("x").Obj()}, want: v1alpha1.ReasonInvalidCIDR},
		"guest's IPv6 network of IPv4": {
			mvm: mvm, facts: natplan.Facts{Pod: b.LauncherPod(vmi, "abcde").IP("fd00::8").Obj(), VMI: b.VMI("web").NetworkIPv6CIDR("10.0.0.0/8").Obj()},
			want: v1alpha1.ReasonInvalidCIDR,
		},
		"no address yet": {mvm: mvm, facts: natplan.Facts{Pod: b.LauncherPod(vmi, "abcde").Obj(), VMI: vmi}, is: natplan.ErrNoPodAddress},
		"exclusion": {
			mvm: b.MVM("web").ExcludeCIDRs("x").Obj(), facts: natplan.Facts{Pod: pod, VMI: vmi}, want: v1alpha1.ReasonInvalidCIDR,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := natplan.ConfigurationSpec(tc.mvm, tc.facts)
			invalid, ok := validate.FirstInvalid(err)
			switch {
			case tc.is != nil && (!errors.Is(err, tc.is) || ok):
				t.Errorf("got %v, want %v", err, tc.is)
			case tc.is == nil && (!ok || invalid.Reason != tc.want || invalid.Message == ""):
				t.Errorf("got %v, want a rejection with reason %s", err, tc.want)
			}
		})
	}
}

// TestConfigurationLike checks that fields that depend on the pod are derived
// from the pod, and that all other fields are copied from the other
// configuration, regardless of the MeshedVirtualMachine.
func TestConfigurationLike(t *testing.T) {
	vmi := b.VMI("web").Obj()
	facts := natplan.Facts{Pod: b.LauncherPod(vmi, "fghij").IP("10.244.1.5").Obj(), VMI: vmi}
	other := v1alpha1.PodNATConfigurationSpec{
		Pod:        v1alpha1.PodTarget{Name: "another", UID: "another"},
		Interfaces: v1alpha1.PodInterfaces{Pod: "eth1", Bridge: "k6t-eth1"},
		Inbound:    v1alpha1.InboundRules{Mesh: []int32{5432}, ExcludePorts: []v1alpha1.PortRange{{Port: 9}}},
		Outbound:   v1alpha1.OutboundRules{ExcludeCIDRs: []string{"10.0.0.0/8"}},
		Unmeshed:   v1alpha1.UnmeshedPolicyDrop, DNS: v1alpha1.DNSPolicyProxy, OnChange: v1alpha1.ChangePolicyReset,
	}
	refused := b.MVM("web").Ports(b.Direct("db", 5432)).Obj()
	got, err := natplan.ConfigurationWithRulesOf(other, refused, facts)
	if err != nil {
		t.Fatal(err)
	}
	want, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), facts)
	if err != nil {
		t.Fatal(err)
	}
	want.Inbound, want.Outbound, want.Unmeshed, want.DNS, want.OnChange = other.Inbound, other.Outbound, other.Unmeshed, other.DNS, other.OnChange
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := natplan.ConfigurationWithRulesOf(other, refused, natplan.Facts{}); !errors.Is(err, natplan.ErrIncompleteFacts) {
		t.Errorf("without facts: %v", err)
	}
}

// TestProbesOfTheRunningGuest checks that no plan closes a port of a probe with
// which the guest was started, even if the template has changed.
func TestProbesOfTheRunningGuest(t *testing.T) {
	vmi := b.VMI("web").Obj()
	vmi.Spec.LivenessProbe = &kubevirtv1.Probe{Handler: kubevirtv1.Handler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8081)}}}
	vmi.Spec.ReadinessProbe = &kubevirtv1.Probe{Handler: kubevirtv1.Handler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
	f := natplan.Facts{Pod: b.LauncherPod(vmi, "a").IP("10.244.0.8").Obj(), VMI: vmi}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want string
	}{
		"unchanged ports":                     {b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.Direct("health", 8081)), ""},
		"a removed port":                      {b.MVM("web").Ports(b.HTTP("http", 80, 8080)), "spec.probedPorts[1]"},
		"a removed port in an excluded range": {b.MVM("web").Ports(b.HTTP("http", 80, 8080)).ExcludeInbound(v1alpha1.PortRange{Port: 8081, EndPort: 8090}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := validate.Spec(tc.mvm.Obj()); err != nil {
				t.Fatal(err)
			}
			spec, err := natplan.ConfigurationSpec(tc.mvm.Obj(), f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]int32{8080, 8081}, spec.ProbedPorts); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			_, err = natplan.Plan(spec, []string{"10.244.0.8"})
			got := ""
			if invalid, ok := validate.FirstInvalid(err); ok {
				got = invalid.Field
			}
			if got != tc.want {
				t.Errorf("rejected %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}
