// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// allow grants a user permissions on resources of API groups in all namespaces. They
// remain, because the operator cleans up at the end of the test.
func (s *suite) allow(user, name string, groups, resources []string) {
	s.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: groups, Resources: resources, Verbs: []string{"*"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := s.Create(s.Context(), o); err != nil {
			s.Fatal(err)
		}
	}
}

// awaitPermission waits until the API server knows that a user can list a resource.
func (s *suite) awaitPermission(user, group, resource string) {
	s.Helper()
	s.eventually(user+" can list "+resource, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: "list"},
		}}
		if err := s.Create(s.Context(), review); err != nil {
			return err
		}
		if !review.Status.Allowed {
			return fmt.Errorf("not allowed: %s", review.Status.Reason)
		}
		return nil
	})
}

// TestKindsThatCannotBeListed runs the operator without the permission to list a kind: it
// must report the kind, and a kind that is not required must not delay anything else.
func TestKindsThatCannotBeListed(t *testing.T) {
	for name, tc := range map[string]struct {
		resource  string
		condition v1alpha1.ConditionType
		programs  bool
	}{
		"a kind that the operator only evaluates": {"authorizationpolicies", v1alpha1.ConditionMeshPolicyEffective, true},
		"a kind that the operator creates":        {"peerauthentications", v1alpha1.ConditionDependenciesAvailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.stop()
			user := s.namespace + "-" + tc.resource
			s.allow(user, user, []string{"", "apiextensions.k8s.io", "batch", "events.k8s.io", "kubevirt.io", "meshvm.io"}, []string{"*"})
			for _, k := range children.Kinds() {
				if r, _ := meta.UnsafeGuessKindToResource(k.GroupVersionKind); k.Upstream == children.UpstreamIstio && r.Resource != tc.resource {
					s.allow(user, user+"-"+r.Resource, []string{r.Group}, []string{r.Resource})
				}
			}
			s.awaitPermission(user, "meshvm.io", "meshedvirtualmachines")
			s.config = rest.CopyConfig(s.config)
			s.config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
			s.run([]func(*controllers.Options){func(o *controllers.Options) { o.Workers = 1 }})

			names := []string{"web", "web-2"}
			for _, name := range names {
				o := s.web()
				o.Name = name
				if err := s.Create(s.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range names {
				o := s.awaitMVM(name, want{tc.condition, unknown, v1alpha1.ReasonPending})
				wantMessage(t, o, tc.condition, "could not list "+tc.resource+".security.istio.io within")
			}
			if tc.programs {
				_, pod := s.startGuest("web", "node-a")
				s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
				o := s.awaitMVM("web", want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed}, want{tc.condition, unknown, v1alpha1.ReasonPending})
				restricted := withPolicies(s.web())
				restricted.Name = "restricted"
				if err := s.Create(s.Context(), restricted); err != nil {
					t.Fatal(err)
				}
				names = append(names, restricted.Name)
				wantMessage(t, s.awaitMVM(restricted.Name, want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonForbidden}),
					v1alpha1.ConditionMeshPolicyApplied, "could not list "+tc.resource+".security.istio.io within")
				if meta.IsStatusConditionTrue(o.Status.Conditions, string(v1alpha1.ConditionReady)) {
					t.Error("Ready is True although the policies were not read")
				}
			}
			held := s.web()
			held.Name, held.Finalizers = "held", []string{"example.com/hold"}
			if err := errors.Join(s.Create(s.Context(), held), s.Delete(s.Context(), held)); err != nil {
				t.Fatal(err)
			}
			s.awaitTermination(held.Name, "the controllers of its finalizers example.com/hold")
			s.letGo(held)
			s.allow(user, user+"-"+tc.resource, []string{"security.istio.io"}, []string{tc.resource})
			for _, name := range names {
				s.awaitMVM(name, want{tc.condition, yes, ""}, want{v1alpha1.ConditionMeshPolicyApplied, yes, ""})
			}
		})
	}
}

// wantMessage compares the beginning of a condition's message.
func wantMessage(t *testing.T, o *v1alpha1.MeshedVirtualMachine, name v1alpha1.ConditionType, text string) {
	t.Helper()
	c := meta.FindStatusCondition(o.Status.Conditions, string(name))
	if c == nil || len(c.Message) < len(text) || c.Message[:len(text)] != text {
		t.Errorf("condition %s is %v, want a message that starts with %q", name, c, text)
	}
}
