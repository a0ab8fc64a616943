// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rulesAre waits until an AuthorizationPolicy has the rules and no action, which means
// ALLOW.
func (s *suite) rulesAre(name string, want ...any) {
	s.Helper()
	s.eventually("AuthorizationPolicy "+name+" has its rules", func() error {
		u, err := s.read(children.AuthorizationPolicyKind, name)
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
	s.rulesAre("web", rule("serviceAccounts", "frontend/web", "8080"), rule("namespaces", "monitoring"))
	s.awaitPolicy(effective, readyAgain, "no PeerAuthentication or AuthorizationPolicy")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].TargetPort = 8081
		spec.Mesh.Allow = []v1alpha1.AllowedClient{{ServiceAccount: "batch", Ports: []string{"http"}}}
	})
	only := rule("serviceAccounts", s.namespace+"/batch", "8081")
	s.rulesAre("web", only)

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
	s.eventually("the AuthorizationPolicy is deleted", func() error {
		_, err := s.read(children.AuthorizationPolicyKind, "web")
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it exists"))
	})
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
	s.rulesAre("web", rule("serviceAccounts", "frontend/web", "8080"), rule("namespaces", "monitoring"))
}
