// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rulesAre waits until the AuthorizationPolicy web has the rules and no action, which
// means ALLOW.
func (s *suite) rulesAre(want ...any) {
	s.Helper()
	s.eventually("the AuthorizationPolicy has its rules", func() error {
		u, err := s.read(children.AuthorizationPolicyKind, "web")
		if err != nil {
			return err
		}
		if action, found, _ := unstructured.NestedString(u.Object, "spec", "action"); found {
			return fmt.Errorf("action %s", action)
		}
		got, _, err := unstructured.NestedSlice(u.Object, "spec", "rules")
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return err
	})
}

func rule(source string, value string, ports ...any) map[string]any {
	out := map[string]any{"from": []any{map[string]any{"source": map[string]any{source: []any{value}}}}}
	if len(ports) > 0 {
		out["to"] = []any{map[string]any{"operation": map[string]any{"ports": ports}}}
	}
	return out
}

// TestAllow permits some clients, changes them, reverts changes of another client that
// invert or disable the policy, and removes the field.
func TestAllow(t *testing.T) {
	s := start(t)
	o := withPolicies(s.web())
	s.converge(o)
	s.rulesAre(rule("serviceAccounts", "frontend/web", "8080"), rule("namespaces", "monitoring"))
	s.awaitPolicy(effective, readyAgain, "no PeerAuthentication or AuthorizationPolicy")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].TargetPort = 8081
		spec.Mesh.Allow = []v1alpha1.AllowedClient{{ServiceAccount: "batch", Ports: []string{"http"}}}
	})
	only := rule("serviceAccounts", s.namespace+"/batch", "8081")
	s.rulesAre(only)

	for name, change := range map[string]func(*unstructured.Unstructured) error{
		"action": func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, "DENY", "spec", "action")
		},
		"a condition of the rule": func(u *unstructured.Unstructured) error {
			widened := rule("serviceAccounts", s.namespace+"/batch", "8081")
			widened["when"] = []any{map[string]any{"key": "source.ip", "values": []any{"192.0.2.1"}}}
			return unstructured.SetNestedSlice(u.Object, []any{widened}, "spec", "rules")
		},
		"a label of the selector": func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, "x", "spec", "selector", "matchLabels", "other")
		},
		"a target instead of the selector": func(u *unstructured.Unstructured) error {
			unstructured.RemoveNestedField(u.Object, "spec", "selector")
			target := map[string]any{"group": "", "kind": "Service", "name": "web"}
			return unstructured.SetNestedSlice(u.Object, []any{target}, "spec", "targetRefs")
		},
		"dry run": func(u *unstructured.Unstructured) error {
			return unstructured.SetNestedField(u.Object, "true", "metadata", "annotations", "istio.io/dry-run")
		},
	} {
		t.Run(name, func(*testing.T) {
			before, err := s.read(children.AuthorizationPolicyKind, "web")
			if err != nil {
				s.Fatal(err)
			}
			after := before.DeepCopy()
			if err := errors.Join(change(after), s.Patch(s.Context(), after, client.MergeFrom(before))); err != nil {
				s.Fatal(err)
			}
			s.eventually("the change is reverted", func() error {
				u, err := s.read(children.AuthorizationPolicyKind, "web")
				if err != nil {
					return err
				}
				return errors.Join(differs(before.Object["spec"], u.Object["spec"]), differs(before.GetAnnotations(), u.GetAnnotations()))
			})
		})
	}

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Allow = nil })
	s.awaitNoPolicy()
}

func differs(want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return errors.New(diff)
	}
	return nil
}

// TestAllowConflict creates a guest whose AuthorizationPolicy has the name of another
// client's. The guest must not start without its policy.
func TestAllowConflict(t *testing.T) {
	s := start(t)
	foreign := s.istioObject(children.AuthorizationPolicyKind, s.namespace, "web", map[string]any{"rules": []any{map[string]any{}}})
	o := withPolicies(s.web())
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web",
		want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonConflict},
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonNotCreated},
		want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
	if err := s.Delete(s.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
	s.rulesAre(rule("serviceAccounts", "frontend/web", "8080"), rule("namespaces", "monitoring"))
}

// TestAuthorization declares two policies, changes one and removes the other. The
// policies of another MeshedVirtualMachine, whose name begins with the same characters,
// are not affected.
func TestAuthorization(t *testing.T) {
	s := start(t)
	deny := func(name, method string) v1alpha1.Authorization {
		return v1alpha1.Authorization{Name: name, Action: v1alpha1.AuthorizationActionDeny, Rules: v1alpha1.AuthorizationRules{
			{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{method}}}}},
		}}
	}
	methods := func(name string, want ...string) {
		s.Helper()
		s.eventually("AuthorizationPolicy "+name+" has its methods", func() error {
			u, err := s.read(children.AuthorizationPolicyKind, name)
			if err != nil {
				return err
			}
			rules, err := nestedList(u.Object, "spec", "rules")
			if err != nil || len(rules) != 1 {
				return fmt.Errorf("%d rules: %w", len(rules), err)
			}
			to, err := nestedList(rules[0], "to")
			if err != nil || len(to) != 1 {
				return fmt.Errorf("%d operations: %w", len(to), err)
			}
			got, _, err := unstructured.NestedStringSlice(to[0], "operation", "methods")
			ports, _, portErr := unstructured.NestedStringSlice(to[0], "operation", "ports")
			return errors.Join(err, portErr, differs(want, got), differs([]string{"8080"}, ports))
		})
	}
	o, other := s.web(), s.web()
	other.Name = "web-no"
	o.Spec.Mesh.Authorization = []v1alpha1.Authorization{deny("no-delete", "DELETE"), deny("no-put", "PUT")}
	other.Spec.Mesh.Authorization = []v1alpha1.Authorization{deny("delete", "DELETE")}
	if err := s.Create(s.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.converge(o)
	methods("web.no-delete", "DELETE")
	methods("web.no-put", "PUT")
	methods("web-no.delete", "DELETE")
	s.awaitPolicy(effective, readyAgain, "")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Authorization = []v1alpha1.Authorization{deny("no-put", "PATCH")}
	})
	methods("web.no-put", "PATCH")
	s.gone(children.AuthorizationPolicyKind, "web.no-delete")
	methods("web-no.delete", "DELETE")

	// An object with the name of a policy is found by its name alone.
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Authorization = nil })
	s.gone(children.AuthorizationPolicyKind, "web.no-put")
	foreign := s.istioObject(children.AuthorizationPolicyKind, s.namespace, "web.no-put", map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": "other"}}, "rules": []any{map[string]any{}},
	})
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Authorization = []v1alpha1.Authorization{deny("no-put", "PUT")}
	})
	got := s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonConflict}, want{v1alpha1.ConditionConflicted, yes, ""})
	wantMessage(t, got, v1alpha1.ConditionMeshPolicyApplied, "AuthorizationPolicy "+s.namespace+"/web.no-put exists and")
	if err := s.Delete(s.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	methods("web.no-put", "PUT")
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied}, readyAgain)
}
