// SPDX-License-Identifier: Apache-2.0

package istiod_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/istiod"
)

const waypointName = "waypoint"

// waypointIP and guestIP are addresses that no case of TestCompiled has.
const waypointIP, guestIP = "10.245.0.8", "10.245.0.1"

// TestWaypoint creates the objects of a guest with a waypoint, and compares what istiod
// compiles for the waypoint and reports about the Service.
func TestWaypoint(t *testing.T) {
	env := shared.Get(t)
	s := &suite{T: t, Client: env.Client}
	if err := env.InstallGatewayAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The golden file names this namespace.
	const namespace, waypoints = "case-ambient-waypoint", "mesh"
	for _, name := range []string{istiod.Namespace, namespace, waypoints} {
		if err := s.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	if err := s.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	server := istiod.Start(t, env, istiod.Current, "PILOT_ENABLE_AMBIENT=true")
	const file = "../../internal/children/testdata/waypoint.yaml"
	for _, o := range objects(t, file, namespace) {
		if o.GetKind() != "VirtualMachine" && o.GetKind() != "PodNATConfiguration" {
			s.create(o)
		}
	}
	for _, pod := range objects(t, "../../internal/children/testdata/pods/waypoint.yaml", namespace) {
		s.pod(namespace, "guest", guestIP, "node-1", pod.GetLabels())
	}
	bound := func() string { return s.bound(namespace) }
	s.eventually("the Service has no waypoint", bound, `False WaypointIsNotReady: waypoint "mesh/waypoint" is not ready`)

	proxy := s.waypoint(waypoints)
	s.eventually("the Service has a waypoint", bound, "True WaypointAccepted: Successfully attached to waypoint mesh/waypoint. Ingress traffic will traverse the waypoint")
	host := "web." + namespace + ".svc.cluster.local"
	read := func() string {
		ports, err := server.CompiledForWaypoint(t.Context(), proxy, host)
		if err != nil {
			return err.Error()
		}
		text, err := sigsyaml.Marshal(ports)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const golden = "testdata/waypoints/policies.yaml"
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o750), os.WriteFile(golden, []byte(read()), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	s.eventually("the waypoint has the policies of "+golden+" (-update rewrites it)", read, string(want))
}

// bound returns istiod's condition of the Service.
func (s *suite) bound(namespace string) string {
	s.Helper()
	service := &corev1.Service{}
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: namespace, Name: "web"}, service); err != nil {
		s.Fatal(err)
	}
	for _, c := range service.Status.Conditions {
		if c.Type == "istio.io/WaypointBound" {
			return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return "no condition"
}

// eventually waits until a function returns a text. istiod is another process.
func (s *suite) eventually(what string, read func() string, want string) {
	s.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		got := read()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: after %s got\n%s\nwant\n%s", what, limit, got, want)
		}
	}
}

// waypoint creates a Gateway with the class of waypoints, and the Service and the pod that
// istiod would create for it.
func (s *suite) waypoint(namespace string) istiod.Proxy {
	s.Helper()
	labels := map[string]string{"gateway.networking.k8s.io/gateway-name": waypointName, "gateway.istio.io/managed": "istio.io-mesh-controller"}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: waypointName, Labels: maps.Clone(labels)},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "mesh", Port: 15008}}},
	}
	s.create(service)
	s.pod(namespace, waypointName, waypointIP, "node-1", labels)
	// istiod computes the address of a Gateway when the Gateway changes, and not when its
	// pods become ready.
	s.eventually("the waypoint has endpoints", func() string {
		slices := &discoveryv1.EndpointSliceList{}
		if err := s.List(s.Context(), slices, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: waypointName}); err != nil {
			s.Fatal(err)
		}
		if len(slices.Items) == 0 {
			return "no EndpointSlice"
		}
		return fmt.Sprint(len(slices.Items[0].Endpoints))
	}, "1")
	gateway := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"gatewayClassName": "istio-waypoint",
		"listeners": []any{map[string]any{
			"name": "mesh", "port": int64(15008), "protocol": "HBONE",
			"allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "All"}},
		}},
	}}}
	gateway.SetAPIVersion("gateway.networking.k8s.io/v1")
	gateway.SetKind("Gateway")
	gateway.SetNamespace(namespace)
	gateway.SetName(waypointName)
	s.create(gateway)
	return istiod.Proxy{Namespace: namespace, Pod: waypointName, IP: waypointIP, ServiceAccount: waypointName, Labels: labels, Waypoint: true}
}
