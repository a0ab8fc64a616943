// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// awaitNoPolicy waits until the AuthorizationPolicy web does not exist.
func (s *suite) awaitNoPolicy() {
	s.Helper()
	s.gone(children.AuthorizationPolicyKind, "web")
}

// TestPolicyWhilePaused deletes the AuthorizationPolicy of a guest, and removes it from
// the spec, while the operator is paused. Neither state is the declared one.
func TestPolicyWhilePaused(t *testing.T) {
	s := start(t)
	s.converge(withPolicies(s.web()))
	outdated := want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonOutOfDate}
	applied := want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied}
	pause := func(value string) { s.annotate(s.mvm("web"), v1alpha1.AnnotationPaused, value) }

	outdatedBy := func(what string) {
		s.Helper()
		if err := s.conditionContains("web", v1alpha1.ConditionMeshPolicyApplied, "AuthorizationPolicy "+s.namespace+"/web "+what); err != nil {
			t.Error(err)
		}
	}

	pause("true")
	s.awaitMVM("web", want{v1alpha1.ConditionPaused, yes, ""}, applied)
	policy := &unstructured.Unstructured{}
	policy.SetGroupVersionKind(children.AuthorizationPolicyKind)
	policy.SetNamespace(s.namespace)
	policy.SetName("web")
	if err := s.Delete(s.Context(), policy); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web", outdated, want{v1alpha1.ConditionReady, no, ""})
	outdatedBy("does not exist")

	pause("false")
	s.awaitMVM("web", applied)
	s.rulesAre(rule("serviceAccounts", "frontend/web", "8080"), rule("namespaces", "monitoring"))

	pause("true")
	s.awaitMVM("web", want{v1alpha1.ConditionPaused, yes, ""}, applied)
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Allow = nil })
	s.awaitMVM("web", outdated, want{v1alpha1.ConditionReady, no, ""})
	outdatedBy("is not part of the spec")

	pause("false")
	s.awaitMVM("web", applied)
	s.awaitNoPolicy()
}

// TestRevokedPolicyAfterFailure removes an AuthorizationPolicy from the spec while the
// Service of the guest is rejected. The policy must not permit connections any more.
func TestRevokedPolicyAfterFailure(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Allow = []v1alpha1.AllowedClient{{Namespace: "monitoring"}}
	s.converge(o)
	other := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "other"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := s.Create(s.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Service.Type = v1alpha1.ServiceTypeNodePort
		spec.Ports[0].NodePort = other.Spec.Ports[0].NodePort
		spec.Mesh.Allow = nil
	})
	s.awaitMVM("web", want{v1alpha1.ConditionServiceReady, no, ""})
	s.awaitNoPolicy()
	// The VirtualService of a spec without a port via Mesh is deleted as well.
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].Via = v1alpha1.PortViaDirect })
	s.eventually("the VirtualService is deleted", func() error { return s.absent(children.VirtualServiceKind, "web") })
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied}, want{v1alpha1.ConditionServiceReady, no, ""})
}
