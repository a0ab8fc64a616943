// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
)

// TestShadowedPolicy creates an older PeerAuthentication that selects the
// guest's pods and permits plaintext. Istio applies it instead of the
// operator's, and the status must report it, before and after it changes.
func TestShadowedPolicy(t *testing.T) {
	s := start(t)
	legacy := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": s.namespace, "name": "legacy"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{v1alpha1.LabelMeshedVirtualMachine: "web"}},
			"mtls":     map[string]any{"mode": "PERMISSIVE"},
			"portLevelMtls": map[string]any{
				"22": map[string]any{"mode": "DISABLE"},
			},
		},
	}}
	legacy.SetGroupVersionKind(children.PeerAuthenticationKind)
	if err := s.Create(s.Context(), legacy); err != nil {
		t.Fatal(err)
	}
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonProgramming})
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	mvm := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonShadowed},
		want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed},
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonShadowed},
	)
	if mode := mvm.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModePermissive {
		t.Errorf("effectiveMode is %s while plaintext is permitted, want Permissive", mode)
	}

	// An edit of that policy is an event for the MeshedVirtualMachine.
	if err := unstructured.SetNestedField(legacy.Object, "STRICT", "spec", "mtls", "mode"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), legacy); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonEffective}, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})

	if err := unstructured.SetNestedField(legacy.Object, "DISABLE", "spec", "mtls", "mode"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), legacy); err != nil {
		t.Fatal(err)
	}
	mvm = s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonShadowed})
	if mode := mvm.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		t.Errorf("effectiveMode is %s, want Disable", mode)
	}
	if err := s.Delete(s.Context(), legacy); err != nil {
		t.Fatal(err)
	}
	mvm = s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if mode := mvm.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeStrict {
		t.Errorf("effectiveMode is %s after the deletion, want Strict", mode)
	}
}
