// SPDX-License-Identifier: Apache-2.0

// Package meshroutes builds the routes of VirtualServices from spec.mesh.routes. It is
// pure. Validation and the builder of children use the same functions.
package meshroutes

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config/host"

	"meshvm.io/meshvm/api/v1alpha1"
)

// MeshGateway is the name that stands for the clients in the mesh in the gateways of a
// VirtualService.
const MeshGateway = "mesh"

// Routes are the routes of a spec for one kind of client.
type Routes struct {
	mvm  *v1alpha1.MeshedVirtualMachine
	host string
	// gateways are the gateways to which the VirtualService is bound, as
	// NAMESPACE/NAME, nil for clients in the mesh.
	gateways []string
	// sniHosts are the hosts of the VirtualService.
	sniHosts     []string
	destinations Destinations
}

// Destinations returns the default destinations of a port: those of a route without
// a destination.
type Destinations func(v1alpha1.Port) []*networkingv1alpha3.RouteDestination

// OfMesh returns the routes for clients in the mesh. The host is the fully qualified name
// of the Service of the guest.
func OfMesh(mvm *v1alpha1.MeshedVirtualMachine, host string, d Destinations) Routes {
	return Routes{mvm: mvm, host: host, sniHosts: []string{host}, destinations: d}
}

// OfGateways returns the routes for requests through the gateways of the spec.
func OfGateways(mvm *v1alpha1.MeshedVirtualMachine, host string, d Destinations) Routes {
	return Routes{mvm: mvm, host: host, gateways: Gateways(mvm), sniHosts: mvm.Spec.Mesh.Routes.Hosts, destinations: d}
}

// Gateways returns the gateways of the spec as NAMESPACE/NAME.
func Gateways(mvm *v1alpha1.MeshedVirtualMachine) []string {
	var out []string
	for _, g := range mvm.Spec.Mesh.Routes.Gateways {
		out = append(out, Qualified(mvm, g))
	}
	return out
}

// Qualified returns the name of a gateway of the spec as NAMESPACE/NAME.
func Qualified(mvm *v1alpha1.MeshedVirtualMachine, gateway string) string {
	if strings.Contains(gateway, "/") {
		return gateway
	}
	return mvm.Namespace + "/" + gateway
}

// IsTCP reports whether the mesh routes connections to the port by mesh.routes.tcp.
func IsTCP(p v1alpha1.Port) bool { return p.IsMeshed() && !p.IsMeshedHTTP() && !p.IsMeshedTLS() }

// ports returns the ports of a protocol to which routes apply. A gateway has
// other ports, so its requests lead to the first port of the protocol.
func (r Routes) ports(is func(v1alpha1.Port) bool) []v1alpha1.Port {
	var out []v1alpha1.Port
	for _, p := range r.mvm.Spec.Ports {
		if is(p) && (r.gateways == nil || len(out) == 0) {
			out = append(out, p)
		}
	}
	return out
}

// Match are the conditions of a route that decide whether it is part of a VirtualService.
type Match interface {
	GetPort() uint32
	GetGateways() []string
}

// applies reports whether a match applies to a port for the clients.
func (r Routes) applies(m Match, p v1alpha1.Port) bool {
	bound := len(m.GetGateways()) == 0 || slices.ContainsFunc(m.GetGateways(), func(g string) bool {
		if r.gateways == nil {
			return g == MeshGateway
		}
		return slices.Contains(r.gateways, Qualified(r.mvm, g))
	})
	return bound && (m.GetPort() == 0 || m.GetPort() == v1alpha1.IstioPort(p.Port))
}

// bindings returns the gateways of a match in the VirtualService.
func (r Routes) bindings(m Match) []string {
	if r.gateways == nil {
		return nil
	}
	var out []string
	for _, g := range m.GetGateways() {
		if q := Qualified(r.mvm, g); g != MeshGateway && slices.Contains(r.gateways, q) {
			out = append(out, q)
		}
	}
	return out
}

// portOf returns the port of a match in the VirtualService: none for a gateway, that of
// the route if the route is divided by ports.
func (r Routes) portOf(m Match, ports []v1alpha1.Port, divided bool) uint32 {
	switch {
	case r.gateways != nil:
		return 0
	case divided:
		return v1alpha1.IstioPort(ports[0].Port)
	default:
		return m.GetPort()
	}
}

// applicable returns the ports to which a route with the matches applies.
func applicable[M Match](r Routes, matches []M, is func(v1alpha1.Port) bool) []v1alpha1.Port {
	return slices.DeleteFunc(r.ports(is), func(p v1alpha1.Port) bool {
		return len(matches) > 0 && !slices.ContainsFunc(matches, func(m M) bool { return r.applies(m, p) })
	})
}

// portions divides the ports of a route into those that share a route in the
// VirtualService. A route with destinations that depend on the port needs one for each
// port: the port of a destination is that of the client's connection only in some cases
// (Istio, pilot/pkg/networking/core/route, GetDestinationCluster).
func portions(ports []v1alpha1.Port, dependent bool) (out [][]v1alpha1.Port, divided bool) {
	if len(ports) == 0 {
		return nil, false
	}
	if len(ports) == 1 || !dependent {
		return [][]v1alpha1.Port{ports}, false
	}
	for _, p := range ports {
		out = append(out, []v1alpha1.Port{p})
	}
	return out, true
}

// ofAny selects the matches that apply to one of the ports.
func ofAny[M Match](r Routes, matches []M, ports []v1alpha1.Port) []M {
	var out []M
	for _, m := range matches {
		if slices.ContainsFunc(ports, func(p v1alpha1.Port) bool { return r.applies(m, p) }) {
			out = append(out, m)
		}
	}
	return out
}

// IsOwn reports whether a host of a destination is the Service of the guest.
func IsOwn(mvm *v1alpha1.MeshedVirtualMachine, fqdn, host string) bool {
	return host == "" || host == mvm.ServiceName() || host == fqdn
}

// complete sets the host and the port of a destination.
func (r Routes) complete(d *networkingv1alpha3.Destination, p v1alpha1.Port) {
	switch {
	case d == nil:
	case IsOwn(r.mvm, r.host, d.GetHost()):
		d.Host = r.host
		if d.Port == nil {
			d.Port = &networkingv1alpha3.PortSelector{Number: v1alpha1.IstioPort(p.Port)}
		}
	case !strings.Contains(d.GetHost(), "."):
		d.Host += strings.TrimPrefix(r.host, r.mvm.ServiceName())
	}
}

// dependsOnPort reports whether a destination is the Service without a port.
func (r Routes) dependsOnPort(d *networkingv1alpha3.Destination) bool {
	return d != nil && d.Port == nil && IsOwn(r.mvm, r.host, d.GetHost())
}

// Within reports whether a name is one of the hosts, or below a wildcard among them.
func Within(hosts []string, name string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return host.Name(name).SubsetOf(host.Name(h)) })
}
