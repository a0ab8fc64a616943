// SPDX-License-Identifier: Apache-2.0

package meshroutes

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"meshvm.io/meshvm/api/v1alpha1"
)

// fullWeight is the weight of a single destination of the spec. A default destination has
// no weight, which distinguishes them in a VirtualService.
const fullWeight = 100

// HTTP returns the HTTP routes of the spec.
func (r Routes) HTTP() []*networkingv1alpha3.HTTPRoute {
	var out []*networkingv1alpha3.HTTPRoute
	for _, route := range r.mvm.Spec.Mesh.Routes.HTTP {
		out = append(out, r.HTTPRoute(route)...)
	}
	return out
}

// HTTPRoute returns the routes of a VirtualService for one of the spec: none if it applies
// to other clients or ports, and several if it leads to the port of the client's
// connection.
func (r Routes) HTTPRoute(route *networkingv1alpha3.HTTPRoute) []*networkingv1alpha3.HTTPRoute {
	dependent := takesDefault(route) || slices.ContainsFunc(httpDestinations(route), r.dependsOnPort)
	parts, divided := portions(applicable(r, route.GetMatch(), v1alpha1.Port.IsMeshedHTTP), dependent)
	out := make([]*networkingv1alpha3.HTTPRoute, 0, len(parts))
	for _, ports := range parts {
		c := route.DeepCopy()
		c.Match = ofAny(r, c.GetMatch(), ports)
		for _, m := range c.GetMatch() {
			m.Port, m.Gateways = r.portOf(m, ports, divided), r.bindings(m)
		}
		if len(c.GetMatch()) == 0 && divided {
			c.Match = []*networkingv1alpha3.HTTPMatchRequest{{Port: v1alpha1.IstioPort(ports[0].Port)}}
		}
		if len(c.GetRoute()) == 1 && c.GetRoute()[0].GetWeight() == 0 {
			c.Route[0].Weight = fullWeight
		}
		for _, d := range httpDestinations(c) {
			r.complete(d, ports[0])
		}
		if takesDefault(route) {
			c.Route = Weighted(r.destinations(ports[0]))
		}
		out = append(out, c)
	}
	return out
}

// takesDefault reports whether a route leads to the default destination.
func takesDefault(route *networkingv1alpha3.HTTPRoute) bool {
	return len(route.GetRoute()) == 0 && route.GetRedirect() == nil && route.GetDirectResponse() == nil
}

// httpDestinations returns the destinations and the mirrors of a route.
func httpDestinations(route *networkingv1alpha3.HTTPRoute) []*networkingv1alpha3.Destination {
	var out []*networkingv1alpha3.Destination
	for _, d := range HTTPDestinationsAt(route, nil) {
		out = append(out, d.Destination)
	}
	return out
}

// Weighted converts destinations to those of HTTP routes.
func Weighted(destinations []*networkingv1alpha3.RouteDestination) []*networkingv1alpha3.HTTPRouteDestination {
	out := make([]*networkingv1alpha3.HTTPRouteDestination, 0, len(destinations))
	for _, d := range destinations {
		out = append(out, &networkingv1alpha3.HTTPRouteDestination{Destination: d.GetDestination(), Weight: d.GetWeight()})
	}
	return out
}

// RoutesAllHTTP reports whether one of the routes of a VirtualService matches every request to a port, so
// that Istio would warn about a default route, which it does not use.
func RoutesAllHTTP(routes []*networkingv1alpha3.HTTPRoute, p v1alpha1.Port) bool {
	return slices.ContainsFunc(routes, func(route *networkingv1alpha3.HTTPRoute) bool {
		return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(m *networkingv1alpha3.HTTPMatchRequest) bool {
			m = m.DeepCopy()
			m.Name = ""
			return (m.GetPort() == 0 || m.GetPort() == v1alpha1.IstioPort(p.Port)) && proto.Equal(m, &networkingv1alpha3.HTTPMatchRequest{Port: m.GetPort()})
		})
	})
}
