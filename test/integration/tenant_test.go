// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

// installRBAC creates the objects of manifests in config/rbac.
func (s *suite) installRBAC(files ...string) {
	s.Helper()
	for _, file := range files {
		s.install(filepath.Join("config/rbac", file))
	}
}

// install creates the objects of manifests.
func (s *suite) install(files ...string) {
	s.Helper()
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(testenv.Root(), file))
		if err != nil {
			s.Fatal(err)
		}
		for part := range bytes.SplitSeq(text, []byte("\n---")) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(bytes.TrimPrefix(part, []byte("---")), &u.Object); err != nil {
				s.Fatal(err)
			}
			if u.GetKind() == "" {
				continue
			}
			if err := s.Create(s.Context(), u); client.IgnoreAlreadyExists(err) != nil {
				s.Fatalf("%s: %v", file, err)
			}
		}
	}
}

// tenant returns the client of a user with ClusterRoles in the namespace of the test.
func (s *suite) tenant(name string, roles ...string) client.Client {
	s.Helper()
	for _, role := range roles {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "tenant-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}},
		}
		if err := s.Create(s.Context(), binding); err != nil {
			s.Fatal(err)
		}
	}
	config := rest.CopyConfig(shared.Get(s.T).Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// aggregated are the ClusterRoles of which the roles "edit" and "admin" consist.
var aggregated = map[string][]string{
	"edit":  {"meshvm-edit", "meshvm-view", "system:aggregate-to-view", "system:aggregate-to-edit"},
	"admin": {"meshvm-edit", "meshvm-view", "system:aggregate-to-view", "system:aggregate-to-edit", "system:aggregate-to-admin"},
}

// TestTenantRoles makes attempts with the permissions of the roles "edit" and "admin"
// together with those that meshvm adds to them.
func TestTenantRoles(t *testing.T) {
	s := start(t)
	s.installRBAC("aggregate_edit.yaml", "aggregate_view.yaml")
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	rules := func(group, resource string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{"get"}}}
	}
	for role, clusterRoles := range aggregated {
		c := s.tenant("tenant-"+role+"-"+s.namespace, clusterRoles...)
		// The permissions are in effect.
		own := s.web()
		own.Name = "own-" + role
		s.eventually("the tenant may create a MeshedVirtualMachine", func() error { return c.Create(s.Context(), own.DeepCopy(), client.DryRunAll) })
		if role == "admin" {
			allowed := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "allowed"}, Rules: rules("", "pods")}
			s.eventually("the tenant may create a role", func() error { return c.Create(s.Context(), allowed.DeepCopy(), client.DryRunAll) })
		}
		for name, attempt := range map[string]func() error{
			"create a PodNATConfiguration": func() error {
				forged := &v1alpha1.PodNATConfiguration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "forged"}, Spec: nat.Spec}
				return c.Create(s.Context(), forged)
			},
			"change a PodNATConfiguration": func() error {
				return c.Patch(s.Context(), nat.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"x":"y"}}}`)))
			},
			"write the status of a PodNATConfiguration": func() error {
				return c.Status().Patch(s.Context(), nat.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"attempts":1}}`)))
			},
			"delete a PodNATConfiguration": func() error { return c.Delete(s.Context(), nat.DeepCopy()) },
			"write the status of a MeshedVirtualMachine": func() error {
				return c.Status().Patch(s.Context(), s.mvm(o.Name), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"address":"x"}}`)))
			},
			"write the status of a pod": func() error {
				return c.Status().Patch(s.Context(), pod.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"podIP":"10.0.0.1"}}`)))
			},
			"grant itself PodNATConfigurations": func() error {
				r := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "escalated"}, Rules: rules("meshvm.io", "podnatconfigurations")}
				r.Rules[0].Verbs = []string{"create", "patch"}
				return c.Create(s.Context(), r)
			},
			"grant itself the role of the manager": func() error {
				return c.Create(s.Context(), &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "escalated"},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
					Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "tenant-" + role}},
				})
			},
			"create a Job in the operator's namespace": func() error {
				j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "forged"}}
				j.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "x", Image: "x"}}}
				return c.Create(s.Context(), j)
			},
		} {
			t.Run(role+", "+name, func(t *testing.T) {
				if err := attempt(); !apierrors.IsForbidden(err) {
					t.Errorf("got %v, want a refusal", err)
				}
			})
		}
	}
}

// TestManagerRole asks the API server what the manager's service account may do.
func TestManagerRole(t *testing.T) {
	s := start(t)
	s.installRBAC("role.yaml", "role_binding.yaml")
	may := func(a authorizationv1.ResourceAttributes) bool {
		t.Helper()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + operatorNamespace + ":meshvm-controller-manager",
			Groups:             []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &a,
		}}
		if err := s.Create(s.Context(), review); err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	s.eventually("the role is in effect", func() error {
		if !may(authorizationv1.ResourceAttributes{Namespace: operatorNamespace, Group: "batch", Resource: "jobs", Verb: "create"}) {
			return errors.New("the manager may not create Jobs in its namespace")
		}
		return nil
	})
	for _, a := range []authorizationv1.ResourceAttributes{
		{Namespace: s.namespace, Group: "batch", Resource: "jobs", Verb: "create"},
		{Namespace: "kube-system", Resource: "secrets", Verb: "get"},
		{Namespace: s.namespace, Resource: "secrets", Verb: "list"},
		{Namespace: s.namespace, Resource: "pods", Verb: "create"},
		{Namespace: s.namespace, Resource: "pods", Verb: "patch"},
		{Namespace: operatorNamespace, Resource: "pods", Verb: "create"},
		{Namespace: s.namespace, Resource: "pods", Subresource: "exec", Verb: "create"},
		{Namespace: s.namespace, Resource: "serviceaccounts", Subresource: "token", Verb: "create"},
		{Resource: "nodes", Verb: "patch"},
		{Resource: "users", Verb: "impersonate"},
		{Group: rbacv1.GroupName, Resource: "clusterrolebindings", Verb: "create"},
		{Namespace: s.namespace, Group: rbacv1.GroupName, Resource: "rolebindings", Verb: "create"},
		{Namespace: s.namespace, Group: "kubevirt.io", Resource: "virtualmachines", Verb: "delete"},
		{Namespace: s.namespace, Group: "apps", Resource: "deployments", Verb: "patch"},
	} {
		if may(a) {
			t.Errorf("the manager may %s %s/%s %s in namespace %q", a.Verb, a.Group, a.Resource, a.Subresource, a.Namespace)
		}
	}
}
