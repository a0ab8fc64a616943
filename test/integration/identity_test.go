// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// makeServiceAccount creates a service account unless it exists.
func (s *suite) makeServiceAccount(namespace, name string) {
	s.Helper()
	err := s.Create(s.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.Fatal(err)
	}
}

// TestIdentity names a service account that does not exist, creates it, and removes the
// field. A guest without its service account must not be created.
func TestIdentity(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Identity.ServiceAccountName = "db"
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := s.awaitMVM("web", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonServiceAccountNotFound}, want{v1alpha1.ConditionStalled, yes, ""})
	wantMessage(t, got, v1alpha1.ConditionAccepted, "spec.mesh.identity.serviceAccountName: service account db does not exist in namespace "+s.namespace+": create it")
	if err := s.absent(children.VirtualMachineKind, "web"); err != nil {
		t.Error(err)
	}

	s.makeServiceAccount(s.namespace, "db")
	// A change of the object is faster than the retry.
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Version = "v2" })
	s.awaitMVM("web", want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted})
	annotation := []string{"template", "metadata", "annotations", v1alpha1.AnnotationServiceAccount}
	s.fieldIs(children.VirtualMachineKind, "web", "db", annotation...)
	reads := s.calls.count("get", "serviceaccounts")
	for _, version := range []string{"v3", "v4"} {
		s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Version = version })
		s.awaitMVM("web", want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted})
	}
	if n := s.calls.count("get", "serviceaccounts"); n != reads {
		t.Errorf("%d further reads of the service account", n-reads)
	}

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Identity = v1alpha1.IdentitySpec{} })
	s.fieldIs(children.VirtualMachineKind, "web", nil, annotation...)
}
