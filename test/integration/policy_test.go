// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
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

// TestOtherClusterDomainAndRootNamespace runs the operator in a cluster whose DNS
// domain and whose Istio root namespace are not the defaults.
func TestOtherClusterDomainAndRootNamespace(t *testing.T) {
	s := start(t, func(o *controllers.Options) { o.ClusterDomain, o.MeshRootNamespace = "corp.example", "mesh-root" })
	s.makeNamespace("mesh-root")
	mesh := peerAuthentication("mesh-root", "default", map[string]any{"mtls": map[string]any{"mode": "DISABLE"}})
	// The older policy sets no mode, so that the mode of the mesh applies.
	older := peerAuthentication(s.namespace, "older", map[string]any{
		"selector":      map[string]any{"matchLabels": map[string]any{v1alpha1.LabelMeshedVirtualMachine: "web"}},
		"portLevelMtls": map[string]any{"22": map[string]any{"mode": "DISABLE"}},
	})
	if err := errors.Join(s.Create(s.Context(), mesh), s.Create(s.Context(), older)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Delete(context.WithoutCancel(s.Context()), mesh); err != nil {
			t.Error(err)
		}
	})
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	mvm := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonShadowed},
		want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied},
		want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed},
	)
	if mode := mvm.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		t.Errorf("effectiveMode is %s with the mode Disable in the root namespace", mode)
	}
	host := "web." + s.namespace + ".svc.corp.example"
	if a := mvm.Status.Addresses; len(a) != 1 || a[0].Value != host {
		t.Errorf("status.addresses is %v, want %s", a, host)
	}
	for _, kind := range []schema.GroupVersionKind{children.DestinationRuleKind, children.VirtualServiceKind} {
		u, err := s.read(kind, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), host) || strings.Contains(string(text), v1alpha1.DefaultClusterDomain) {
			t.Errorf("%s does not have the host %s: %s", kind.Kind, host, text)
		}
	}

	if err := unstructured.SetNestedField(mesh.Object, "STRICT", "spec", "mtls", "mode"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	mvm = s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonEffective})
	if mode := mvm.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeStrict {
		t.Errorf("effectiveMode is %s with the mode Strict in the root namespace", mode)
	}

	// The message names the namespace and the field.
	s.awaitPolicy(effective, readyAgain, "Istio's root namespace mesh-root (mesh.rootNamespace), and")
	s.awaitPolicy(effective, readyAgain, "namespace mesh-root contains no Service of istiod (label app=istiod): if it is not Istio's root namespace, set mesh.rootNamespace")
	istiod := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mesh-root", Name: "istiod", Labels: map[string]string{"app": "istiod"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https-dns", Port: 15012}}},
	}
	if err := s.Create(s.Context(), istiod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Delete(context.WithoutCancel(s.Context()), istiod) })
	s.eventually("the message does not name a missing istiod", func() error {
		for _, c := range s.mvm(o.Name).Status.Conditions {
			if strings.Contains(c.Message, "contains no Service of istiod") {
				return errors.New(c.Message)
			}
		}
		return nil
	})
}

func peerAuthentication(namespace, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(children.PeerAuthenticationKind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}
