// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// routeNames waits until the HTTP routes of a VirtualService have the names.
func (s *suite) routeNames(service string, want ...string) {
	s.Helper()
	s.eventually("VirtualService "+service+" has its routes", func() error {
		u, err := s.read(children.VirtualServiceKind, service)
		if err != nil {
			return err
		}
		routes, _, err := unstructured.NestedSlice(u.Object, "spec", "http")
		var got []string
		for _, r := range routes {
			m, _ := r.(map[string]any)
			got = append(got, fmt.Sprint(m["name"]))
		}
		return errors.Join(err, differs(want, got))
	})
}

// TestRoutes declares a route, replaces it by one that the operator refuses, and by one to a subset
// that no pod has, and removes it.
func TestRoutes(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Routes.HTTP = v1alpha1.HTTPRoutes{b.HTTPRoute(`{name: fault, match: [{headers: {x-fault: {exact: "yes"}}}], fault: {abort: {httpStatus: 503}}}`)}
	s.converge(o)
	s.routeNames("web", "fault", "http")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Routes.HTTP = v1alpha1.HTTPRoutes{b.HTTPRoute(`{name: stolen, route: [{destination: {host: web.other.svc.cluster.local}}]}`)}
	})
	s.awaitMVM("web", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonHostNotAllowed})
	s.routeNames("web", "fault", "http")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Routes.HTTP = v1alpha1.HTTPRoutes{b.HTTPRoute(`{name: canary, match: [{headers: {x-canary: {exact: "yes"}}}], route: [{destination: {subset: v9}}]}`)}
	})
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonSubsetMissing})
	s.routeNames("web", "canary", "http")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Routes = v1alpha1.RoutesSpec{} })
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonEffective})
	s.routeNames("web", "http")
}

// gateway creates the Gateway public with a host.
func (s *suite) gateway(host string) *unstructured.Unstructured {
	s.Helper()
	return s.istioObject(meshedvirtualmachine.GatewayKind, s.namespace, "public", map[string]any{
		"selector": map[string]any{"istio": "ingress"},
		"servers":  []any{map[string]any{"port": map[string]any{"number": int64(80), "name": "http", "protocol": "HTTP"}, "hosts": []any{host}}},
	})
}

// TestGateways declares a host of a Gateway that does not exist. Each change of the Gateway is
// an event for the MeshedVirtualMachine.
func TestGateways(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Routes = v1alpha1.RoutesSpec{Hosts: []string{"shop.example.com"}, Gateways: []string{"public"}}
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	state := func(reason v1alpha1.ConditionReason, text string) {
		t.Helper()
		s.awaitPolicy(want{v1alpha1.ConditionMeshPolicyEffective, no, reason}, want{v1alpha1.ConditionReady, no, reason}, text)
	}
	state(v1alpha1.ReasonGatewayNotFound, "Gateway "+s.namespace+"/public, which")

	g := s.gateway("other/shop.example.com")
	state(v1alpha1.ReasonGatewayRefusesHost, "Gateway "+s.namespace+"/public has no server for host shop.example.com of namespace "+s.namespace)
	servers, _, _ := unstructured.NestedSlice(g.Object, "spec", "servers")
	servers[0].(map[string]any)["hosts"] = []any{"./*.example.com"}
	if err := errors.Join(unstructured.SetNestedSlice(g.Object, servers, "spec", "servers"), s.Update(s.Context(), g)); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")
	if err := s.Delete(s.Context(), g); err != nil {
		t.Fatal(err)
	}
	state(v1alpha1.ReasonGatewayNotFound, "Gateway "+s.namespace+"/public, which")
}

// TestGatewayRoutes declares a host of a gateway, reverts a change of another client that
// binds the host to all clients in the mesh, and removes the host.
func TestGatewayRoutes(t *testing.T) {
	s := start(t)
	s.gateway("shop.example.com")
	o := s.web()
	o.Spec.Mesh.Routes = v1alpha1.RoutesSpec{Hosts: []string{"shop.example.com"}, Gateways: []string{"public"}}
	s.converge(o)
	s.routeNames("web.gateway", "http")
	bound := func() error {
		u, err := s.read(children.VirtualServiceKind, "web.gateway")
		if err != nil {
			return err
		}
		gateways, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "gateways")
		hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
		return errors.Join(differs([]string{s.namespace + "/public"}, gateways), differs([]string{"shop.example.com"}, hosts))
	}
	s.eventually("the VirtualService is bound to the gateway", bound)

	before, err := s.read(children.VirtualServiceKind, "web.gateway")
	if err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	if err := errors.Join(unstructured.SetNestedStringSlice(after.Object, []string{"mesh"}, "spec", "gateways"), s.Patch(s.Context(), after, client.MergeFrom(before))); err != nil {
		t.Fatal(err)
	}
	s.eventually("the VirtualService is bound to the gateway again", bound)

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Routes.Gateways = []string{"ingress/public"} })
	s.awaitMVM("web", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonGatewayNotAllowed})
	s.eventually("the VirtualService is bound to the gateway", bound)

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Routes = v1alpha1.RoutesSpec{} })
	s.eventually("the VirtualService of the gateway is deleted", func() error {
		_, err := s.read(children.VirtualServiceKind, "web.gateway")
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it exists"), err)
	})
	s.routeNames("web", "http")
}
