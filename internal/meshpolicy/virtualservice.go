// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// meshGateway is the name that stands for all sidecars in the gateways of a
// VirtualService.
const meshGateway = "mesh"

// sourceMatch are the conditions of a route that do not depend on the request.
type sourceMatch interface {
	GetPort() uint32
	GetGateways() []string
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
}

// RouteBefore returns the VirtualService by which the sidecars of clients in the
// namespace of a Service route its port instead of by the own VirtualService, or nil
// for none. The services are the VirtualServices of this namespace.
//
// It follows Istio (pilot/pkg/model, SelectVirtualServices, and
// pilot/pkg/networking/core). VirtualServices that are exported only to their own
// namespace precede those that are exported to all namespaces. Among equals, the
// oldest that has a route for the port applies. For HTTP, the host of the Service
// must be listed, because a wildcard is less specific. For TCP, a wildcard counts as
// well.
//
// A VirtualService whose routes apply only to some clients does not count. A setting
// of the mesh (defaultVirtualServiceExportTo) decides the visibility of a
// VirtualService without exportTo, so one counts if it precedes with one of the values
// of the setting. On a port on which clients use TLS, several VirtualServices can apply to
// different server names: only routes for the name of the Service count.
func RouteBefore(own *networkingv1.VirtualService, services []*networkingv1.VirtualService, fqdn string, port v1alpha1.Port) *networkingv1.VirtualService {
	namespace := own.Namespace
	if !Visible(own.Spec.GetExportTo(), namespace) {
		return nil
	}
	sorted := byAge(services)
	age := slices.IndexFunc(sorted, func(vs *networkingv1.VirtualService) bool { return vs.Name == own.Name && vs.Namespace == namespace })
	for i, vs := range sorted {
		if i != age && vs.Namespace == namespace && Visible(vs.Spec.GetExportTo(), namespace) && precedes(vs, own, i < age) &&
			ofMesh(vs.Spec.GetGateways()) && routes(vs, namespace, fqdn, port) {
			return vs
		}
	}
	return nil
}

// precedes reports whether a VirtualService precedes another of its namespace with
// one of the values of the mesh's default of exportTo.
func precedes(a, b *networkingv1.VirtualService, older bool) bool {
	return slices.ContainsFunc([]bool{true, false}, func(byDefault bool) bool {
		first, second := private(a.Spec.GetExportTo(), a.Namespace, byDefault), private(b.Spec.GetExportTo(), b.Namespace, byDefault)
		return first && !second || first == second && older
	})
}

// routes reports whether the VirtualService has a route for the port that applies
// to every client in the namespace.
func routes(vs *networkingv1.VirtualService, namespace, fqdn string, port v1alpha1.Port) bool {
	listed := func(matches func(host, fqdn string) bool) bool {
		return slices.ContainsFunc(vs.Spec.GetHosts(), func(host string) bool { return matches(host, fqdn) })
	}
	if port.IsMeshedHTTP() {
		return listed(SameHost) && slices.ContainsFunc(vs.Spec.GetHttp(), func(route *networkingv1alpha3.HTTPRoute) bool {
			return forAll(route.GetMatch(), namespace, port)
		})
	}
	if port.IsMeshedTLS() {
		return listed(Covers) && slices.ContainsFunc(vs.Spec.GetTls(), func(route *networkingv1alpha3.TLSRoute) bool {
			named := slices.DeleteFunc(slices.Clone(route.GetMatch()), func(m *networkingv1alpha3.TLSMatchAttributes) bool {
				return len(m.GetDestinationSubnets()) > 0 || !slices.ContainsFunc(m.GetSniHosts(), func(name string) bool { return Covers(name, fqdn) })
			})
			return len(named) > 0 && forAll(named, namespace, port)
		})
	}
	return listed(Covers) && slices.ContainsFunc(vs.Spec.GetTcp(), func(route *networkingv1alpha3.TCPRoute) bool {
		whole := slices.DeleteFunc(slices.Clone(route.GetMatch()), func(m *networkingv1alpha3.L4MatchAttributes) bool {
			return len(m.GetDestinationSubnets()) > 0
		})
		return len(route.GetMatch()) == 0 || len(whole) > 0 && forAll(whole, namespace, port)
	})
}

// forAll reports whether a route with these alternatives applies to a port for
// every client in the namespace.
func forAll[M sourceMatch](alternatives []M, namespace string, port v1alpha1.Port) bool {
	return len(alternatives) == 0 || slices.ContainsFunc(alternatives, func(m M) bool {
		return (m.GetPort() == 0 || m.GetPort() == v1alpha1.IstioPort(port.Port)) &&
			ofMesh(m.GetGateways()) && len(m.GetSourceLabels()) == 0 &&
			(m.GetSourceNamespace() == "" || m.GetSourceNamespace() == namespace)
	})
}

// Visible reports whether an object is exported to its own namespace.
func Visible(exportTo []string, namespace string) bool {
	return len(exportTo) == 0 || slices.ContainsFunc(exportTo, func(e string) bool {
		return e == exportToMesh || e == exportToOwn || e == namespace
	})
}

// private reports whether an object that is visible in its own namespace is not
// exported to the whole mesh. Without exportTo, the mesh's default decides.
func private(exportTo []string, namespace string, byDefault bool) bool {
	if len(exportTo) == 0 {
		return byDefault
	}
	return Visible(exportTo, namespace) && !slices.Contains(exportTo, exportToMesh)
}

func ofMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, meshGateway)
}
