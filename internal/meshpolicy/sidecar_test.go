// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/internal/meshpolicy"
)

// sidecar returns a Sidecar of an age in seconds. It selects a label "app", or all workloads
// by an empty selector if app is "*", or has no selector if app is empty.
func sidecar(namespace, name, app string, age int) *networkingv1.Sidecar {
	s := &networkingv1.Sidecar{ObjectMeta: metaOf(namespace, name, age)}
	switch app {
	case "":
	case "*":
		s.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{}
	default:
		s.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{Labels: map[string]string{"app": app}}
	}
	return s
}

func TestSidecarBefore(t *testing.T) {
	own := sidecar("shop", "web", "web", 10)
	for name, tc := range map[string]struct {
		other *networkingv1.Sidecar
		want  bool
	}{
		"older":                 {sidecar("shop", "other", "web", 20), true},
		"younger":               {sidecar("shop", "other", "web", 5), false},
		"of the same age":       {sidecar("shop", "a", "web", 10), true},
		"of another workload":   {sidecar("shop", "other", "db", 20), false},
		"without a selector":    {sidecar("shop", "default", "", 20), false},
		"with an empty one":     {sidecar("shop", "other", "*", 20), true},
		"of the root namespace": {sidecar("istio-system", "default", "web", 20), false},
	} {
		t.Run(name, func(t *testing.T) {
			got := meshpolicy.SidecarBefore(own, []*networkingv1.Sidecar{own, tc.other}, map[string]string{"app": "web", "version": "v1"})
			if (got == tc.other) != tc.want || got != nil && !tc.want {
				t.Errorf("got %v, want the other one: %t", got, tc.want)
			}
		})
	}
}

func TestEndpointsFor(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace string
		change    func(*networkingv1alpha3.ServiceEntry)
		want      bool
	}{
		"endpoints":            {"shop", func(*networkingv1alpha3.ServiceEntry) {}, true},
		"another namespace":    {"bank", func(*networkingv1alpha3.ServiceEntry) {}, false},
		"another host":         {"shop", func(e *networkingv1alpha3.ServiceEntry) { e.Hosts = []string{"web.shop", "*.shop.svc.cluster.local"} }, false},
		"one of several hosts": {"shop", func(e *networkingv1alpha3.ServiceEntry) { e.Hosts = []string{"api.example.com", webHost} }, true},
		"no endpoints":         {"shop", func(e *networkingv1alpha3.ServiceEntry) { e.Endpoints = nil }, false},
		"pods": {"shop", func(e *networkingv1alpha3.ServiceEntry) {
			e.Endpoints, e.WorkloadSelector = nil, &networkingv1alpha3.WorkloadSelector{Labels: map[string]string{"app": "x"}}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := &networkingv1.ServiceEntry{ObjectMeta: metaOf(tc.namespace, "other", 1)}
			e.Spec.Hosts, e.Spec.Resolution = []string{webHost}, networkingv1alpha3.ServiceEntry_STATIC
			e.Spec.Endpoints = []*networkingv1alpha3.WorkloadEntry{{Address: "192.0.2.1"}}
			tc.change(&e.Spec)
			if got := meshpolicy.EndpointsFor("shop", webHost, []*networkingv1.ServiceEntry{e}); (got == e) != tc.want {
				t.Errorf("got %v, want one: %t", got, tc.want)
			}
		})
	}
}
