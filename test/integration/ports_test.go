// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/yaml"
)

// specIs returns an error if the specs of the child and of the text differ. The text
// is YAML with NAMESPACE for the namespace of the test.
func (s *suite) specIs(kind schema.GroupVersionKind, text string) error {
	u, err := s.read(kind, "web")
	if err != nil {
		return err
	}
	got, err := yaml.Marshal(u.Object["spec"])
	if err != nil {
		return err
	}
	var want, found any
	if err := errors.Join(yaml.Unmarshal([]byte(text), &want), yaml.Unmarshal([]byte(replaceAll(string(got), s.namespace)), &found)); err != nil {
		return err
	}
	if diff := cmp.Diff(want, found); diff != "" {
		return errors.New(kind.Kind + " (-want +got):\n" + diff)
	}
	return nil
}

// absent returns an error if an object of the kind exists.
func (s *suite) absent(kind schema.GroupVersionKind, name string) error {
	if _, err := s.read(kind, name); !apierrors.IsNotFound(err) {
		return errors.Join(fmt.Errorf("found %s %s", kind.Kind, name), err)
	}
	return nil
}

// conditionContains returns an error if the message of a condition does not contain
// the text.
func (s *suite) conditionContains(name string, t v1alpha1.ConditionType, text string) error {
	c := meta.FindStatusCondition(s.mvm(name).Status.Conditions, string(t))
	if c == nil || !strings.Contains(c.Message, text) {
		return fmt.Errorf("condition %s is %v", t, c)
	}
	return nil
}

// created returns a MeshedVirtualMachine that can be created.
func (s *suite) created(b *builders.MVMBuilder) *v1alpha1.MeshedVirtualMachine {
	o := b.Namespace(s.namespace).Obj()
	o.UID, o.Generation = "", 0 // The API server sets these.
	return o
}

// TestPolicyOfPorts applies the policy of single ports, and removes it again.
func TestPolicyOfPorts(t *testing.T) {
	s := start(t)
	o := s.created(builders.MVM("web").
		Ports(builders.HTTP("http", 80, 8080), builders.TCP("grpc-api", 9000), builders.TCP("db", 5432), builders.Direct("ssh", 22)).
		Timeout("http", "5s").Retries("http", &networkingv1alpha3.HTTPRetry{}).
		Retries("grpc-api", &networkingv1alpha3.HTTPRetry{Attempts: 3, RetryOn: "unavailable"}).
		PortMTLS("db", v1alpha1.MTLSModePermissive).
		ExportTo(".", "ingress"))
	s.converge(o)
	const rule = `host: web.NAMESPACE.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]`
	if err := s.specIs(children.DestinationRuleKind, "{exportTo: [., ingress], "+rule+"}"); err != nil {
		t.Error(err)
	}
	if err := s.specIs(children.PeerAuthenticationKind, `{selector: {matchLabels: {meshvm.io/meshed-virtual-machine: web}}, mtls: {mode: STRICT},
		portLevelMtls: {"22": {mode: DISABLE}, "5432": {mode: PERMISSIVE}}}`); err != nil {
		t.Error(err)
	}
	routes, err := s.read(children.VirtualServiceKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := unstructured.NestedStringSlice(routes.Object, "spec", "exportTo"); !slices.Equal(got, []string{".", "ingress"}) {
		t.Errorf("the VirtualService is exported to %v", got)
	}
	http, err := nestedList(routes.Object, "spec", "http")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []map[string]any{
		{"name": "http", "timeout": "5s", "retries": map[string]any{}}, // No attempts: retries are turned off.
		{"name": "grpc-api", "retries": map[string]any{"attempts": int64(3), "retryOn": "unavailable"}},
	} {
		delete(http[i], "match")
		delete(http[i], "route")
		if diff := cmp.Diff(want, http[i]); diff != "" {
			t.Errorf("HTTP route %d (-want +got):\n%s", i, diff)
		}
	}
	service, err := s.read(children.ServiceKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := nestedList(service.Object, "spec", "ports")
	if err != nil {
		t.Fatal(err)
	}
	protocols := map[any]any{}
	for _, p := range ports {
		protocols[p["name"]] = p["appProtocol"]
	}
	if diff := cmp.Diff(map[any]any{"http": "http", "grpc-api": "grpc", "db": "tcp", "ssh": "tcp"}, protocols); diff != "" {
		t.Errorf("application protocols (-want +got):\n%s", diff)
	}
	s.atRest()

	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.ExportTo = nil
		spec.Ports = []v1alpha1.Port{builders.HTTP("http", 80, 8080), builders.Direct("db", 5432)}
	})
	s.eventually("the policy is removed", func() error {
		routes, err := s.read(children.VirtualServiceKind, o.Name)
		if err != nil {
			return err
		}
		if _, found, _ := unstructured.NestedFieldNoCopy(routes.Object, "spec", "exportTo"); found {
			return errors.New("the VirtualService has an exportTo")
		}
		if err := s.specIs(children.DestinationRuleKind, "{"+rule+"}"); err != nil {
			return err
		}
		return s.specIs(children.PeerAuthenticationKind, `{selector: {matchLabels: {meshvm.io/meshed-virtual-machine: web}}, mtls: {mode: STRICT}, portLevelMtls: {"5432": {mode: DISABLE}}}`)
	})
	s.eventually("the status has the ports", func() error {
		got := map[string]v1alpha1.PortVia{}
		for _, p := range s.mvm(o.Name).Status.Ports {
			got[p.Name] = p.Via
		}
		if diff := cmp.Diff(map[string]v1alpha1.PortVia{"http": v1alpha1.PortViaMesh, "db": v1alpha1.PortViaDirect}, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// TestRejectedPolicyOfPorts makes edits that only the operator can reject.
func TestRejectedPolicyOfPorts(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	before := s.mvm(o.Name)
	for message, change := range map[string]func(*v1alpha1.MeshedVirtualMachineSpec){
		`spec.ports[0].timeout: applies only to HTTP, and the protocol of port "db" is tcp`: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.Ports = []v1alpha1.Port{{Name: "db", Port: 80, Timeout: "5s"}}
		},
		`spec.ports[1].targetPort: port "http-a" has the same TCP port 80 of the guest`: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.Ports = []v1alpha1.Port{{Name: "http-a", Port: 80}, {Name: "grpc-b", Port: 81, TargetPort: 80}}
		},
		`spec.ports[1].mtls: port "a" has the same port 80 of the guest and mutual TLS mode Strict instead of Permissive`: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.Ports = []v1alpha1.Port{{Name: "a", Port: 80}, {Name: "b", Port: 81, TargetPort: 80, MTLS: v1alpha1.MTLSModePermissive}}
		},
	} {
		s.edit(o.Name, change)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidPort})
		s.eventually("the message is "+message, func() error { return s.conditionContains(o.Name, v1alpha1.ConditionAccepted, message) })
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { *spec = *before.Spec.DeepCopy() })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted})
}

// webHost is the host of the machine in Istio's objects.
const webHost = "web.NAMESPACE.svc.cluster.local"

// TestPortsWithoutRoutes removes the only route, and adds it again.
func TestPortsWithoutRoutes(t *testing.T) {
	s := start(t)
	o := s.created(builders.MVM("web").Ports(builders.TLS("tls", 443, 8443)))
	s.converge(o)
	if err := s.absent(children.VirtualServiceKind, "web"); err != nil {
		t.Error(err)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].AppProtocol = "tcp" })
	s.eventually("the port has a route", func() error {
		return s.specIs(children.VirtualServiceKind, `{hosts: [`+webHost+`], tcp: [{match: [{port: 443}], route: [{destination: {host: `+webHost+`, subset: v1, port: {number: 443}}}]}]}`)
	})
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].AppProtocol = "https" })
	s.eventually("the VirtualService is deleted", func() error { return s.absent(children.VirtualServiceKind, "web") })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
}

// TestHeadlessService checks the objects of a headless Service, on whose TCP
// connections routes and subsets have no effect.
func TestHeadlessService(t *testing.T) {
	s := start(t)
	o := s.created(builders.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).
		Ports(builders.HTTP("http", 8080, 8080), builders.TCP("db", 5432)).Timeout("http", "5s"))
	s.converge(o)
	if err := errors.Join(
		s.absent(children.DestinationRuleKind, "web"),
		s.specIs(children.VirtualServiceKind, `{hosts: [`+webHost+`], http: [{name: http, match: [{port: 8080}], route: [{destination: {host: `+webHost+`, port: {number: 8080}}}], timeout: 5s}]}`),
	); err != nil {
		t.Error(err)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.TrafficPolicy = &networkingv1alpha3.TrafficPolicy{ConnectionPool: &networkingv1alpha3.ConnectionPoolSettings{
			Tcp: &networkingv1alpha3.ConnectionPoolSettings_TCPSettings{MaxConnections: 10},
		}}
	})
	s.eventually("the policy is applied", func() error {
		return s.specIs(children.DestinationRuleKind, `{host: `+webHost+`, trafficPolicy: {connectionPool: {tcp: {maxConnections: 10}}}}`)
	})
}
