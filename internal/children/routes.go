// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
)

// gatewayPart is the part of the name of the VirtualService for gateways.
const gatewayPart = "gateway"

// virtualServices builds the VirtualService for clients in the mesh, and the one for the
// gateways of the spec. One VirtualService cannot have different hosts for both: a host
// of the gateways would also replace this host for all clients in the mesh.
func virtualServices(guest Input) ([]Object, error) {
	in := guest.service()
	var out []Object
	for _, vs := range []*networkingv1.VirtualService{virtualService(in), gatewayVirtualService(in)} {
		if vs != nil {
			out = append(out, vs)
		}
	}
	return out, nil
}

// gatewayVirtualService builds the routes of requests through gateways, or returns nil if
// the spec has no gateway. It is exported to all namespaces, because Istio shows it only
// to gateways in namespaces to which it is exported, and the pods of a gateway can run in
// another namespace than the Gateway (Istio, pilot/pkg/model, VirtualServicesForGateway).
// Clients in the mesh do not use it.
func gatewayVirtualService(in serviceInput) *networkingv1.VirtualService {
	mvm := in.Lead()
	if len(mvm.Spec.Mesh.Routes.Gateways) == 0 {
		return nil
	}
	vs := &networkingv1.VirtualService{ObjectMeta: serviceMeta(in, in.Name+"."+gatewayPart)}
	vs.SetGroupVersionKind(VirtualServiceKind)
	vs.Spec.ExportTo = []string{"*"}
	vs.Spec.Hosts = slices.Clone(mvm.Spec.Mesh.Routes.Hosts)
	vs.Spec.Gateways = meshroutes.Gateways(mvm)
	declareRoutes(vs, meshroutes.OfGateways(mvm, in.host(), in.destinations))
	// The first HTTP port is the one to which gateways lead.
	if i := slices.IndexFunc(mvm.Spec.Ports, v1alpha1.Port.IsMeshedHTTP); i >= 0 && !meshroutes.RoutesAllHTTP(vs.Spec.Http, mvm.Spec.Ports[i]) {
		route := httpRoute(in, mvm.Spec.Ports[i])
		route.Match = nil
		vs.Spec.Http = append(vs.Spec.Http, route)
	}
	return vs
}

// declareRoutes sets the routes of the spec.
func declareRoutes(vs *networkingv1.VirtualService, routes meshroutes.Routes) {
	vs.Spec.Http, vs.Spec.Tls, vs.Spec.Tcp = routes.HTTP(), routes.TLS(), routes.TCP()
}

// destinations returns the default destinations of a port.
func (in serviceInput) destinations(p v1alpha1.Port) []*networkingv1alpha3.RouteDestination {
	return in.destinationsOf(v1alpha1.IstioPort(p.Port))
}
