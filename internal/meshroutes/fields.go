// SPDX-License-Identifier: Apache-2.0

package meshroutes

import (
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// FieldDestination is a destination of the spec with its path.
type FieldDestination struct {
	Field       *field.Path
	Destination *networkingv1alpha3.Destination
}

// DestinationsOf returns the destinations and mirrors of the routes of a spec.
func DestinationsOf(mvm *v1alpha1.MeshedVirtualMachine) []FieldDestination {
	var out []FieldDestination
	path := field.NewPath("spec", "mesh", "routes")
	for i, route := range mvm.Spec.Mesh.Routes.HTTP {
		out = append(out, HTTPDestinationsAt(route, path.Child("http").Index(i))...)
	}
	for i, route := range mvm.Spec.Mesh.Routes.TLS {
		out = append(out, DestinationsAt(route.GetRoute(), path.Child("tls").Index(i))...)
	}
	for i, route := range mvm.Spec.Mesh.Routes.TCP {
		out = append(out, DestinationsAt(route.GetRoute(), path.Child("tcp").Index(i))...)
	}
	return out
}

// DestinationsAt returns the destinations of a route with their paths.
func DestinationsAt(destinations []*networkingv1alpha3.RouteDestination, path *field.Path) []FieldDestination {
	out := make([]FieldDestination, 0, len(destinations))
	for i, d := range destinations {
		out = append(out, FieldDestination{path.Child("route").Index(i).Child("destination"), d.GetDestination()})
	}
	return out
}

// HTTPDestinationsAt returns the destinations and mirrors of a route with their paths.
func HTTPDestinationsAt(route *networkingv1alpha3.HTTPRoute, path *field.Path) []FieldDestination {
	var out []FieldDestination
	for i, d := range route.GetRoute() {
		out = append(out, FieldDestination{path.Child("route").Index(i).Child("destination"), d.GetDestination()})
	}
	if m := route.GetMirror(); m != nil {
		out = append(out, FieldDestination{path.Child("mirror"), m})
	}
	for i, m := range route.GetMirrors() {
		out = append(out, FieldDestination{path.Child("mirrors").Index(i).Child("destination"), m.GetDestination()})
	}
	return out
}
