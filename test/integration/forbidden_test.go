// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestExhaustedQuota applies a Service that a ResourceQuota does not permit, and deletes
// the quota.
func TestExhaustedQuota(t *testing.T) {
	s := start(t)
	none := corev1.ResourceList{corev1.ResourceServices: resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "no-services"}, Spec: corev1.ResourceQuotaSpec{Hard: none}}
	if err := s.Create(s.Context(), quota); err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none} // No quota controller runs.
	if err := s.Status().Update(s.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.eventually("the API server enforces the quota", func() error {
		probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "probe"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		if err := s.Create(s.Context(), probe, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.refused(o.Name, v1alpha1.ReasonQuotaExceeded, "exceeded quota: no-services")
	if err := s.Delete(s.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied})
}

// TestMissingPermission runs the operator without the permission to write Services, and
// grants it.
func TestMissingPermission(t *testing.T) {
	s := start(t)
	user := "operator-" + s.namespace
	all := []string{rbacv1.VerbAll}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"meshvm.io", "kubevirt.io", "networking.istio.io", "security.istio.io", "apiextensions.k8s.io", "batch", "events.k8s.io"}, Resources: []string{rbacv1.ResourceAll}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"pods", "nodes"}, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get", "list", "watch"}},
	}}
	if err := s.Create(s.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(s.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}); err != nil {
		t.Fatal(err)
	}
	s.awaitPermission(user, "meshvm.io", "meshedvirtualmachines")
	s.config.Impersonate = rest.ImpersonationConfig{UserName: user}
	s.restart()
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.refused(o.Name, v1alpha1.ReasonForbidden, `User "`+user+`" cannot patch resource "services"`)
	role.Rules[2].Verbs = all
	if err := s.Update(s.Context(), role); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied})
}

// refused waits until the Service is not applied for a reason that passes without a
// change of the spec: the object is not Stalled.
func (s *suite) refused(name string, reason v1alpha1.ConditionReason, message string) {
	s.Helper()
	o := s.awaitMVM(name,
		want{v1alpha1.ConditionServiceReady, no, reason},
		want{v1alpha1.ConditionReady, no, reason},
		want{v1alpha1.ConditionReconciling, yes, v1alpha1.ReasonProgressing},
	)
	if c := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionStalled)); c != nil {
		s.Errorf("the object is Stalled: %s", c.Message)
	}
	if c := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionReady)); !strings.Contains(c.Message, message) {
		s.Errorf("the message is %q, want the API server's: %s", c.Message, message)
	}
}
