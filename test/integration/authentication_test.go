// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldIs waits until a field of the spec of a child has a value.
func (s *suite) fieldIs(kind schema.GroupVersionKind, name string, want any, path ...string) {
	s.Helper()
	s.eventually(kind.Kind+" "+name+" has its spec", func() error {
		u, err := s.read(kind, name)
		if err != nil {
			return err
		}
		got, _, err := unstructured.NestedFieldNoCopy(u.Object, append([]string{"spec"}, path...)...)
		return errors.Join(err, differs(want, got))
	})
}

// gone waits until a child does not exist.
func (s *suite) gone(kind schema.GroupVersionKind, name string) {
	s.Helper()
	s.eventually(kind.Kind+" "+name+" is deleted", func() error { return s.absent(kind, name) })
}

// TestAuthentication requires tokens, reverts an issuer that another client adds, makes
// the tokens optional, and removes the field.
func TestAuthentication(t *testing.T) {
	const required = "web.authentication.required"
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Authentication = v1alpha1.AuthenticationSpec{JWTRules: v1alpha1.JWTRules{{Issuer: "https://example.com", ForwardOriginalToken: true}}}
	s.converge(o)
	rules := []any{map[string]any{"issuer": "https://example.com", "forwardOriginalToken": true}}
	s.fieldIs(children.RequestAuthenticationKind, "web", rules, "jwtRules")
	s.fieldIs(children.AuthorizationPolicyKind, required, "DENY", "action")
	s.fieldIs(children.AuthorizationPolicyKind, required, []any{map[string]any{
		"from": []any{map[string]any{"source": map[string]any{"notRequestPrincipals": []any{"https://example.com/*"}}}},
		"to":   []any{map[string]any{"operation": map[string]any{"ports": []any{"8080"}}}},
	}}, "rules")
	s.awaitPolicy(effective, readyAgain, "")

	before, err := s.read(children.RequestAuthenticationKind, "web")
	if err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	widened := []any{rules[0], map[string]any{"issuer": "https://example.org"}}
	if err := errors.Join(unstructured.SetNestedSlice(after.Object, widened, "spec", "jwtRules"), s.Patch(s.Context(), after, client.MergeFrom(before))); err != nil {
		t.Fatal(err)
	}
	s.fieldIs(children.RequestAuthenticationKind, "web", rules, "jwtRules")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Authentication.Mode = v1alpha1.AuthenticationModeOptional
	})
	s.gone(children.AuthorizationPolicyKind, required)
	s.fieldIs(children.RequestAuthenticationKind, "web", rules, "jwtRules")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Authentication = v1alpha1.AuthenticationSpec{}
	})
	s.gone(children.RequestAuthenticationKind, "web")
}
