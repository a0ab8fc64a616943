// SPDX-License-Identifier: Apache-2.0

package meshroutes

import (
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TLS returns the TLS routes of the spec. Gateways also get a default route for the hosts
// that no route of the spec names.
func (r Routes) TLS() []*networkingv1alpha3.TLSRoute {
	var out []*networkingv1alpha3.TLSRoute
	named := map[string]bool{}
	for _, route := range r.mvm.Spec.Mesh.Routes.TLS {
		for _, part := range r.TLSRoute(route) {
			for _, m := range part.GetMatch() {
				for _, name := range m.GetSniHosts() {
					named[name] = true
				}
			}
			out = append(out, part)
		}
	}
	ports := r.ports(v1alpha1.Port.IsMeshedTLS)
	rest := slices.DeleteFunc(slices.Clone(r.sniHosts), func(h string) bool { return named[h] })
	if r.gateways == nil || len(ports) == 0 || len(rest) == 0 {
		return out
	}
	return append(out, &networkingv1alpha3.TLSRoute{
		Match: []*networkingv1alpha3.TLSMatchAttributes{{SniHosts: rest}}, Route: r.destinations(ports[0]),
	})
}

// TLSRoute returns the routes of a VirtualService for one of the spec.
func (r Routes) TLSRoute(route *networkingv1alpha3.TLSRoute) []*networkingv1alpha3.TLSRoute {
	var out []*networkingv1alpha3.TLSRoute
	parts, divided := portions(applicable(r, route.GetMatch(), v1alpha1.Port.IsMeshedTLS), r.dependent(route.GetRoute()))
	for _, ports := range parts {
		c := route.DeepCopy()
		c.Match = slices.DeleteFunc(ofAny(r, c.GetMatch(), ports), func(m *networkingv1alpha3.TLSMatchAttributes) bool {
			m.Port, m.Gateways = r.portOf(m, ports, divided), r.bindings(m)
			m.SniHosts = slices.DeleteFunc(m.GetSniHosts(), func(name string) bool { return !Within(r.sniHosts, name) })
			return len(m.GetSniHosts()) == 0
		})
		if len(c.GetMatch()) == 0 { // Without server names, it belongs to the other VirtualService.
			continue
		}
		c.Route = r.connections(c.GetRoute(), ports[0])
		out = append(out, c)
	}
	return out
}

// TCP returns the TCP routes of the spec.
func (r Routes) TCP() []*networkingv1alpha3.TCPRoute {
	var out []*networkingv1alpha3.TCPRoute
	for _, route := range r.mvm.Spec.Mesh.Routes.TCP {
		out = append(out, r.TCPRoute(route)...)
	}
	return out
}

// TCPRoute returns the routes of a VirtualService for one of the spec. A gateway has none: a connection has no
// host name, so the guest would get the connections of a port that others share.
func (r Routes) TCPRoute(route *networkingv1alpha3.TCPRoute) []*networkingv1alpha3.TCPRoute {
	if r.gateways != nil {
		return nil
	}
	parts, divided := portions(applicable(r, route.GetMatch(), IsTCP), r.dependent(route.GetRoute()))
	out := make([]*networkingv1alpha3.TCPRoute, 0, len(parts))
	for _, ports := range parts {
		c := route.DeepCopy()
		c.Match = ofAny(r, c.GetMatch(), ports)
		for _, m := range c.GetMatch() {
			m.Port, m.Gateways = r.portOf(m, ports, divided), r.bindings(m)
		}
		if len(c.GetMatch()) == 0 && divided {
			c.Match = []*networkingv1alpha3.L4MatchAttributes{{Port: v1alpha1.IstioPort(ports[0].Port)}}
		}
		c.Route = r.connections(c.GetRoute(), ports[0])
		out = append(out, c)
	}
	return out
}

// dependent reports whether the destinations depend on the port of the connection.
func (r Routes) dependent(destinations []*networkingv1alpha3.RouteDestination) bool {
	return len(destinations) == 0 || slices.ContainsFunc(destinations, func(d *networkingv1alpha3.RouteDestination) bool {
		return r.dependsOnPort(d.GetDestination())
	})
}

// connections completes the destinations of a route of connections.
func (r Routes) connections(destinations []*networkingv1alpha3.RouteDestination, p v1alpha1.Port) []*networkingv1alpha3.RouteDestination {
	if len(destinations) == 0 {
		return r.destinations(p)
	}
	if len(destinations) == 1 && destinations[0].GetWeight() == 0 {
		destinations[0].Weight = fullWeight
	}
	for _, d := range destinations {
		r.complete(d.GetDestination(), p)
	}
	return destinations
}

// RoutesAllTCP reports whether one of the routes of a VirtualService matches every
// connection to a port.
func RoutesAllTCP(routes []*networkingv1alpha3.TCPRoute, p v1alpha1.Port) bool {
	return slices.ContainsFunc(routes, func(route *networkingv1alpha3.TCPRoute) bool {
		return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(m *networkingv1alpha3.L4MatchAttributes) bool {
			return (m.GetPort() == 0 || m.GetPort() == v1alpha1.IstioPort(p.Port)) && proto.Equal(m, &networkingv1alpha3.L4MatchAttributes{Port: m.GetPort()})
		})
	})
}
