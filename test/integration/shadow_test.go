// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

// istioObject creates an object of Istio and deletes it at the end of the test.
func (s *suite) istioObject(kind schema.GroupVersionKind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	s.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	if err := s.Create(s.Context(), u); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = s.Delete(context.WithoutCancel(s.Context()), u) })
	return u
}

// awaitPolicy waits for the condition MeshPolicyEffective, for a message that contains
// the text, and for Ready. Then the operator must be at rest.
func (s *suite) awaitPolicy(status, ready want, text string) {
	s.Helper()
	s.eventually("the message contains "+text, func() error {
		c := meta.FindStatusCondition(s.mvm("web").Status.Conditions, string(v1alpha1.ConditionMeshPolicyEffective))
		if c == nil || !strings.Contains(c.Message, text) {
			return fmt.Errorf("condition is %v", c)
		}
		return nil
	})
	s.awaitMVM("web", status, ready)
	s.atRest()
}

var (
	effective   = want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonEffective}
	shadowed    = want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonShadowed}
	readyAgain  = want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady}
	notReady    = want{v1alpha1.ConditionReady, no, v1alpha1.ReasonShadowed}
	deniedHere  = want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonPortsDenied}
	deniedMesh  = want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPortsDenied}
	deniedReady = want{v1alpha1.ConditionReady, no, v1alpha1.ReasonPortsDenied}
)

// TestShadowedRoutes creates VirtualServices and DestinationRules of another client for
// the host of the guest. Each change of them is an event for the MeshedVirtualMachine.
func TestShadowedRoutes(t *testing.T) {
	s := start(t)
	host := "web." + s.namespace + ".svc.cluster.local"
	vs := s.istioObject(children.VirtualServiceKind, s.namespace, "legacy", map[string]any{
		"hosts": []any{host}, "exportTo": []any{"."},
		"http": []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "other"}}}}},
	})
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitPolicy(shadowed, notReady, "VirtualService "+s.namespace+"/legacy has precedence")

	// A host of another Service does not concern the guest.
	if err := unstructured.SetNestedStringSlice(vs.Object, []string{"other"}, "spec", "hosts"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), vs); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")

	// A younger rule with another exportTo replaces the operator's.
	dr := s.istioObject(children.DestinationRuleKind, s.namespace, "younger", map[string]any{"host": host, "exportTo": []any{"."}})
	s.awaitPolicy(shadowed, notReady, "DestinationRule "+s.namespace+"/younger for host "+host)
	unstructured.RemoveNestedField(dr.Object, "spec", "exportTo")
	if err := unstructured.SetNestedField(dr.Object, "DISABLE", "spec", "trafficPolicy", "tls", "mode"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), dr); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(shadowed, notReady, "its TLS settings replace Istio's mutual TLS on port \"http\"")
	if err := s.Delete(s.Context(), dr); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")
}

// TestShadowedByOptionalKinds creates a Sidecar before the operator's, and a ServiceEntry with
// endpoints for the host of the Service.
func TestShadowedByOptionalKinds(t *testing.T) {
	s := start(t)
	sidecar := s.istioObject(children.SidecarKind, s.namespace, "a", map[string]any{
		"workloadSelector": map[string]any{"labels": map[string]any{"app": "web"}}, "egress": []any{map[string]any{"hosts": []any{"*/*"}}},
	})
	o := s.web()
	o.Spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{"app": "web"}
	o.Spec.Mesh.Egress.Outbound = v1alpha1.OutboundModeRegistryOnly
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitPolicy(shadowed, notReady, "Sidecar "+s.namespace+"/a selects pod "+pod.Name)
	if err := s.Delete(s.Context(), sidecar); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")

	entry := s.istioObject(children.ServiceEntryKind, s.namespace, "legacy", map[string]any{
		"hosts": []any{"web." + s.namespace + ".svc.cluster.local"}, "resolution": "STATIC", "exportTo": []any{"."},
		"ports":     []any{map[string]any{"number": int64(80), "name": "http", "protocol": "HTTP"}},
		"endpoints": []any{map[string]any{"address": "192.0.2.1"}},
	})
	s.awaitPolicy(shadowed, notReady, "ServiceEntry "+s.namespace+"/legacy also has host web."+s.namespace)
	if err := s.Delete(s.Context(), entry); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")
}

// TestDeniedPorts creates AuthorizationPolicies that close the port of the guest.
func TestDeniedPorts(t *testing.T) {
	s := start(t)
	s.makeNamespace("istio-system")
	kind := children.AuthorizationPolicyKind
	s.converge(s.web())
	s.awaitPolicy(effective, readyAgain, "")

	own := s.istioObject(kind, s.namespace, "closed", map[string]any{"action": "DENY", "rules": []any{map[string]any{}}})
	s.awaitPolicy(deniedHere, readyAgain, "AuthorizationPolicy "+s.namespace+"/closed denies every connection to port \"http\"")
	if err := unstructured.SetNestedField(own.Object, "ALLOW", "spec", "action"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(s.Context(), own); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")
	if err := s.Delete(s.Context(), own); err != nil {
		t.Fatal(err)
	}

	mesh := s.istioObject(kind, "istio-system", "allow-nothing", map[string]any{})
	s.awaitPolicy(deniedMesh, deniedReady, "(istio-system/allow-nothing)")
	s.istioObject(kind, s.namespace, "opened", map[string]any{"rules": []any{map[string]any{
		"to": []any{map[string]any{"operation": map[string]any{"ports": []any{"8080"}}}},
	}}})
	s.awaitPolicy(effective, readyAgain, "")
	if err := s.Delete(s.Context(), mesh); err != nil {
		t.Fatal(err)
	}
}

// TestAuthorizationPoliciesNotInstalled runs the operator in a cluster without the CRD
// of AuthorizationPolicy, which is installed later.
func TestAuthorizationPoliciesNotInstalled(t *testing.T) {
	env := testenv.Start(t, testenv.Options{KubeVirt: true, Istio: true, Controllers: testenv.DefaultControllers})
	crd := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "authorizationpolicies.security.istio.io"}}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := env.Client.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	s := startOn(t, env)
	s.converge(s.web())
	s.awaitPolicy(effective, readyAgain, "")
	s.eventually("the CRD is deleted", func() error { return gone(s.Get(s.Context(), client.ObjectKeyFromObject(crd), crd)) })
	restricted := withPolicies(s.web())
	restricted.Name = "restricted"
	if err := s.Create(s.Context(), restricted); err != nil {
		t.Fatal(err)
	}
	got := s.awaitMVM(restricted.Name,
		want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonIstioMissing},
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonNotCreated},
		want{v1alpha1.ConditionStalled, yes, ""})
	wantMessage(t, got, v1alpha1.ConditionMeshPolicyApplied, "the cluster does not serve authorizationpolicies.security.istio.io in version v1, which is required by spec.mesh.allow, spec.mesh.authorization and spec.mesh.authentication: ")
	if _, err := s.read(children.VirtualMachineKind, restricted.Name); !apierrors.IsNotFound(err) {
		t.Errorf("the guest starts without its policy: %v", err)
	}
	if err := env.InstallIstio(s.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(restricted.Name, want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
	s.eventually("the VirtualMachine exists", func() error {
		_, err := s.read(children.VirtualMachineKind, restricted.Name)
		return err
	})
	s.istioObject(children.AuthorizationPolicyKind, s.namespace, "closed",
		map[string]any{"action": "DENY", "rules": []any{map[string]any{}}})
	s.awaitPolicy(deniedHere, readyAgain, "AuthorizationPolicy "+s.namespace+"/closed")
}
