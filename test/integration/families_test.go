// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

// families are the address families of a Service in order, and its policy.
type families struct {
	policy corev1.IPFamilyPolicy
	of     []corev1.IPFamily
}

// serviceFamilies returns the families of the Service and checks its addresses.
func (s *suite) serviceFamilies(name string) (families, error) {
	var svc corev1.Service
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &svc); err != nil {
		return families{}, err
	}
	f := families{of: svc.Spec.IPFamilies}
	if svc.Spec.IPFamilyPolicy != nil {
		f.policy = *svc.Spec.IPFamilyPolicy
	}
	var have []corev1.IPFamily
	for _, a := range svc.Spec.ClusterIPs {
		address, err := netip.ParseAddr(a)
		if err != nil {
			return f, err
		}
		if address.Is4() {
			have = append(have, corev1.IPv4Protocol)
		} else {
			have = append(have, corev1.IPv6Protocol)
		}
	}
	if !slices.Equal(have, f.of) {
		return f, fmt.Errorf("the addresses %v do not match the families %v", svc.Spec.ClusterIPs, f.of)
	}
	return f, nil
}

// TestServiceFamilies changes the policy of one Service repeatedly, on
// dual-stack API servers with both orders of families, and with IPv6 only.
func TestServiceFamilies(t *testing.T) {
	const (
		single  = v1alpha1.ServiceIPFamilyPolicySingleStack
		prefer  = v1alpha1.ServiceIPFamilyPolicyPreferDualStack
		require = v1alpha1.ServiceIPFamilyPolicyRequireDualStack
		v4, v6  = corev1.IPv4Protocol, corev1.IPv6Protocol
	)
	of := func(policy v1alpha1.ServiceIPFamilyPolicy, all ...corev1.IPFamily) families {
		return families{policy: corev1.IPFamilyPolicy(policy), of: all}
	}
	type step struct {
		policy  v1alpha1.ServiceIPFamilyPolicy
		want    families
		refused bool
	}
	for _, tc := range []struct {
		name, networks string
		steps          []step
	}{
		{"IPv4 first", "10.0.0.0/24,fd00::/112", []step{
			{policy: "", want: of(single, v4)},
			{policy: prefer, want: of(prefer, v4, v6)},
			{policy: single, want: of(single, v4)},
			{policy: require, want: of(require, v4, v6)},
			{policy: "", want: of(single, v4)},
		}},
		{"IPv6 first", "fd00::/112,10.0.0.0/24", []step{
			{policy: "", want: of(single, v6)},
			{policy: require, want: of(require, v6, v4)},
			{policy: prefer, want: of(prefer, v6, v4)},
			{policy: single, want: of(single, v6)},
		}},
		{"IPv6 alone", "fd00::/112", []step{
			{policy: "", want: of(single, v6)},
			{policy: prefer, want: of(prefer, v6)},
			{policy: require, want: of(prefer, v6), refused: true},
			{policy: single, want: of(single, v6)},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startOn(t, testenv.Start(t, testenv.Options{
				KubeVirt: true, Istio: true, Controllers: testenv.DefaultControllers, ServiceNetworks: tc.networks,
			}))
			o := s.web()
			s.converge(o)
			for _, step := range tc.steps {
				s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Service.IPFamilyPolicy = step.policy })
				if step.refused {
					s.awaitRejectedService(o.Name)
				} else {
					s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
				}
				s.eventually(fmt.Sprintf("the Service with policy %q", step.policy), func() error {
					got, err := s.serviceFamilies(o.Name)
					if diff := cmp.Diff(step.want, got, cmp.AllowUnexported(families{})); err == nil && diff != "" {
						err = errors.New(diff)
					}
					return err
				})
			}
		})
	}
}

// awaitRejectedService waits until the status reports the error of the API
// server.
func (s *suite) awaitRejectedService(name string) {
	s.Helper()
	m := s.awaitMVM(name,
		want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonInvalidSpec},
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonInvalidSpec})
	for _, c := range m.Status.Conditions {
		if c.Type == string(v1alpha1.ConditionServiceReady) {
			s.Logf("%s: %s", c.Type, c.Message)
			if !strings.Contains(c.Message, "ipFamilyPolicy") {
				s.Errorf("the message does not contain a field: %s", c.Message)
			}
		}
	}
}
