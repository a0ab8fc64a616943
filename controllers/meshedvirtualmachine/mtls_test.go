// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/validate"
)

func TestMTLSStatus(t *testing.T) {
	tests := map[string]struct {
		mvm    *v1alpha1.MeshedVirtualMachine
		proven bool
		want   v1alpha1.MTLSStatus
	}{
		"strict and verified": {
			builders.MVM("web").Ports(builders.HTTP("http", 80, 8080), builders.Direct("ssh", 22), builders.UDP("echo", 9000)).Obj(), true,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeStrict, Source: v1alpha1.MTLSSourcePolicy, BypassedPorts: []string{"echo", "ssh"}},
		},
		"ports opened bypassing the proxy": {
			func() *v1alpha1.MeshedVirtualMachine {
				o := builders.MVM("web").Ports(builders.HTTP("http", 80, 8080)).Obj()
				o.Spec.Capture.Inbound.ExcludePorts = []v1alpha1.PortRange{{Port: 9100}, {Port: 9100}, {Port: 10000, EndPort: 20000, Protocol: v1alpha1.PortProtocolUDP}}
				return o
			}(), true,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeStrict, Source: v1alpha1.MTLSSourcePolicy, BypassedPorts: []string{"10000-20000/UDP", "9100/TCP"}},
		},
		"strict and not verified": {
			builders.MVM("web").Ports(builders.HTTP("http", 80, 8080)).Obj(), false,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeDisable, Source: v1alpha1.MTLSSourcePolicy},
		},
		"the weakest port decides": {
			builders.MVM("web").Ports(builders.HTTP("http", 80, 8080), builders.TCP("db", 5432)).MTLS(v1alpha1.MTLSModeStrict).PortMTLS("db", v1alpha1.MTLSModePermissive).Obj(), true,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModePermissive, Source: v1alpha1.MTLSSourcePolicy},
		},
		"a stronger port": {
			builders.MVM("web").Ports(builders.TCP("db", 5432)).MTLS(v1alpha1.MTLSModeDisable).PortMTLS("db", v1alpha1.MTLSModeStrict).Obj(), true,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeDisable, EffectiveMode: v1alpha1.MTLSModeStrict, Source: v1alpha1.MTLSSourcePolicy},
		},
		"no mesh port": {
			builders.MVM("web").Ports(builders.Direct("ssh", 22)).Obj(), true,
			v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeDisable, Source: v1alpha1.MTLSSourcePolicy, BypassedPorts: []string{"ssh"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, (&scope{mvm: tc.mvm}).mtls(tc.proven)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestMTLSOfRejectedSpec checks that the mode of the last accepted spec is
// reported unless its policy or rules were lost, and that a weaker mode in effect is
// reported.
func TestMTLSOfRejectedSpec(t *testing.T) {
	before := v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeStrict, Source: v1alpha1.MTLSSourcePolicy, BypassedPorts: []string{"db"}}
	for name, tc := range map[string]struct {
		mod  func(*scope)
		want v1alpha1.MTLSMode
	}{
		"policy and rules unchanged": {func(*scope) {}, v1alpha1.MTLSModeStrict},
		"stored mode is weaker":      {func(s *scope) { s.mvm.Status.MTLS.EffectiveMode = v1alpha1.MTLSModePermissive }, v1alpha1.MTLSModePermissive},
		"policy edited":              {ownPermits, v1alpha1.MTLSModePermissive},
		"policy shadowed": {func(s *scope) {
			s.policies = append(s.policies, peerAuthentication("legacy", time.Hour, securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE))
		}, v1alpha1.MTLSModePermissive},
		"policies not read":    {func(s *scope) { s.policies = nil }, v1alpha1.MTLSModeDisable},
		"rules missing":        {setNAT(metav1.ConditionFalse, v1alpha1.ReasonDrifted, 1), v1alpha1.MTLSModeDisable},
		"pods not listed":      {func(s *scope) { s.pods, s.podsKnown = nil, false }, v1alpha1.MTLSModeDisable},
		"the guest terminated": {func(s *scope) { s.pods, s.vmi = nil, nil }, v1alpha1.MTLSModeDisable},
		"a policy was deleted": {func(s *scope) { delete(s.children, key(children.PeerAuthenticationKind)) }, v1alpha1.MTLSModeDisable},
	} {
		s := world(func(s *scope) {
			s.invalid = &validate.Invalid{Reason: v1alpha1.ReasonInvalidSpec}
			s.mvm.Status.MTLS = before
		}, tc.mod)
		s.writeStatus()
		want := before
		want.EffectiveMode = tc.want
		if diff := cmp.Diff(want, s.mvm.Status.MTLS); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestStatusAfterRejection checks the status while the spec is not accepted, and while
// Istio's webhook rejects another object than the PeerAuthentication.
func TestStatusAfterRejection(t *testing.T) {
	before := []v1alpha1.PortStatus{{Name: "http", Via: v1alpha1.PortViaMesh}}
	s := world(func(s *scope) {
		s.invalid = &validate.Invalid{Reason: v1alpha1.ReasonInvalidPort}
		s.mvm.Spec.Ports[0].Via = v1alpha1.PortViaDirect
		s.mvm.Status.Ports = before
	})
	s.writeStatus()
	if diff := cmp.Diff(before, s.mvm.Status.Ports); diff != "" {
		t.Errorf("the ports of a spec that is not accepted: %s", diff)
	}

	denial := apierrors.NewForbidden(schema.GroupResource{}, "web", errors.New(`admission webhook "validation.istio.io" denied the request: "x" is not a valid retryOn policy`))
	for kind, want := range map[schema.GroupVersionKind]v1alpha1.MTLSMode{
		children.VirtualServiceKind:     v1alpha1.MTLSModeStrict,
		children.DestinationRuleKind:    v1alpha1.MTLSModeStrict,
		children.PeerAuthenticationKind: v1alpha1.MTLSModeDisable,
	} {
		s := world(fails(kind, denial))
		s.writeStatus()
		if got := s.mvm.Status.MTLS.EffectiveMode; got != want {
			t.Errorf("%s is rejected: effectiveMode is %s, want %s", kind.Kind, got, want)
		}
		applied, _ := conditions.Find(s.conditions(), v1alpha1.ConditionMeshPolicyApplied)
		if !strings.Contains(applied.Message, "derives this object from "+sources[kind]) {
			t.Errorf("the message does not name %s: %s", sources[kind], applied.Message)
		}
	}
}
