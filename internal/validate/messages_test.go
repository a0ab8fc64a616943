// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
)

// TestResolverOfTheCluster checks specs that list the resolver of a known cluster.
func TestResolverOfTheCluster(t *testing.T) {
	cluster := validate.Cluster{Resolvers: []string{"10.96.0.10"}, Domain: "cluster.local"}
	for name, tc := range map[string]struct {
		config   corev1.PodDNSConfig
		accepted bool
	}{
		"listed":             {corev1.PodDNSConfig{Nameservers: []string{"192.0.2.53", "10.96.0.10"}, Searches: []string{"cluster.local"}}, true},
		"without the domain": {corev1.PodDNSConfig{Nameservers: []string{"10.96.0.10"}}, false},
		"not listed":         {corev1.PodDNSConfig{Nameservers: []string{"192.0.2.53"}, Searches: []string{"cluster.local"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			mvm := dnsPolicy("None").VM(func(s *kubevirtv1.VirtualMachineSpec) { s.Template.Spec.DNSConfig = &tc.config }).Obj()
			err := validate.SpecIn(cluster, mvm)
			if tc.accepted != (err == nil) || err != nil && !strings.Contains(err.Error(), "or add 10.96.0.10 to dnsConfig.nameservers and cluster.local to dnsConfig.searches") {
				t.Errorf("accepted: %v, want %v: %v", err == nil, tc.accepted, err)
			}
			if validate.Spec(mvm) == nil {
				t.Error("accepted for an unknown cluster")
			}
		})
	}
}

// TestWantsGuaranteed checks which guests need a pod of QoS class Guaranteed.
func TestWantsGuaranteed(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for name, tc := range map[string]struct {
		domain kubevirtv1.DomainSpec
		want   bool
	}{
		"nothing":       {kubevirtv1.DomainSpec{}, false},
		"CPUs":          {kubevirtv1.DomainSpec{CPU: &kubevirtv1.CPU{Cores: 2}}, false},
		"dedicated":     {kubevirtv1.DomainSpec{CPU: &kubevirtv1.CPU{DedicatedCPUPlacement: true}}, true},
		"requests":      {kubevirtv1.DomainSpec{Resources: kubevirtv1.ResourceRequirements{Requests: list("1", "1Gi")}}, false},
		"limits":        {kubevirtv1.DomainSpec{Resources: kubevirtv1.ResourceRequirements{Limits: list("1", "1Gi")}}, true},
		"equal":         {kubevirtv1.DomainSpec{Resources: kubevirtv1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("1000m", "1024Mi")}}, true},
		"higher limits": {kubevirtv1.DomainSpec{Resources: kubevirtv1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("2", "1Gi")}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := validate.WantsGuaranteed(&kubevirtv1.VirtualMachineInstanceSpec{Domain: tc.domain}); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSpecOfNil(t *testing.T) {
	for name, mvm := range map[string]*v1alpha1.MeshedVirtualMachine{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			if _, ok := validate.FirstInvalid(validate.Spec(mvm)); !ok {
				t.Error("not rejected")
			}
		})
	}
}

func TestFirstInvalid(t *testing.T) {
	first := &validate.Invalid{Reason: v1alpha1.ReasonInvalidPort, Field: "a", Message: "one"}
	second := &validate.Invalid{Reason: v1alpha1.ReasonInvalidCIDR, Field: "b", Message: "two"}
	for name, tc := range map[string]struct {
		err  error
		want *validate.Invalid
	}{
		"nil":     {},
		"other":   {err: errors.New("x")},
		"typed":   {err: (*validate.Invalid)(nil)},
		"wrapped": {err: fmt.Errorf("plan: %w", first), want: first},
		"joined":  {err: errors.Join(errors.New("x"), first, second), want: first},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := validate.FirstInvalid(tc.err)
			if got != tc.want && tc.want != nil || ok != (tc.want != nil) {
				t.Errorf("got %v, %v; want %v", got, ok, tc.want)
			}
		})
	}
}

// TestMessages checks the complete text of rejections: the field, the problem and
// the solution.
func TestMessages(t *testing.T) {
	const template = "spec.virtualMachine.template"
	for want, mvm := range map[string]*b.MVMBuilder{
		`spec.capture.outbound.excludeCIDRs[0]: "10.96.0.5/16" has host bits set: use 10.96.0.0/16 for the network, or 10.96.0.5/32 for the single host`:          b.MVM("web").ExcludeCIDRs("10.96.0.5/16"),
		`spec.capture.outbound.excludeCIDRs[0]: "fd00:96::5/112" has host bits set: use fd00:96::/112 for the network, or fd00:96::5/128 for the single host`:     b.MVM("web").ExcludeCIDRs("fd00:96::5/112"),
		`spec.ports[0].targetPort: port 15006 is reserved for the mesh proxy: use another port in the guest`:                                                      b.MVM("web").Ports(b.HTTP("http", 80, 15006)),
		`spec.ports[0].targetPort: port 15901 is reserved for the start gate: use another port in the guest`:                                                      b.MVM("web").Ports(b.HTTP("http", 80, 15901)),
		`spec.ports[0].port: port 49152 is reserved for KubeVirt live migration: use another port in the guest`:                                                   b.MVM("web").Ports(b.Direct("x", 49152)),
		`spec.ports[0].targetPort: invalid port 70000: must be between 1 and 65535`:                                                                               b.MVM("web").Ports(b.HTTP("http", 80, 70000)),
		`spec.capture.inbound.excludePorts[0]: the range contains port 8080, which is via Mesh: set via of the port to Direct, or remove it from the range`:       b.MVM("web").Ports(b.HTTP("http", 80, 8080)).ExcludeInbound(v1alpha1.PortRange{Port: 8000, EndPort: 9000}),
		template + `.spec.readinessProbe.tcpSocket.port: TCP port 9000 is closed: add it to spec.ports or spec.capture.inbound.excludePorts, or remove the probe`: b.MVM("web").VM(probedAt(intstr.FromInt32(9000), "")),
	} {
		t.Run(want, func(t *testing.T) {
			if err := validate.Spec(mvm.Obj()); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}
