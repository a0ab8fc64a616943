// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
)

// virtualService builds the routes of the spec, and then one route for each HTTP and TCP
// port that the mesh carries. It returns nil if no port has a route.
func virtualService(in serviceInput) *networkingv1.VirtualService {
	mvm := in.Lead()
	vs := &networkingv1.VirtualService{ObjectMeta: serviceMeta(in, in.Name)}
	vs.SetGroupVersionKind(VirtualServiceKind)
	vs.Spec.ExportTo = slices.Clone(mvm.Spec.Mesh.ExportTo)
	vs.Spec.Hosts = []string{in.host()}
	declareRoutes(vs, meshroutes.OfMesh(mvm, in.host(), in.destinations))
	for _, p := range mvm.Spec.Ports {
		switch {
		case !mvm.Spec.HasRoute(p):
		case p.IsMeshedHTTP():
			if !meshroutes.RoutesAllHTTP(vs.Spec.Http, p) {
				vs.Spec.Http = append(vs.Spec.Http, httpRoute(in, p))
			}
		default:
			if !meshroutes.RoutesAllTCP(vs.Spec.Tcp, p) {
				vs.Spec.Tcp = append(vs.Spec.Tcp, tcpRoute(in, p))
			}
		}
	}
	if len(vs.Spec.Http)+len(vs.Spec.Tcp)+len(vs.Spec.Tls) == 0 {
		return nil
	}
	return vs
}

func httpRoute(in serviceInput, p v1alpha1.Port) *networkingv1alpha3.HTTPRoute {
	r := &networkingv1alpha3.HTTPRoute{
		Name:    p.Name,
		Match:   []*networkingv1alpha3.HTTPMatchRequest{{Port: v1alpha1.IstioPort(p.Port)}},
		Route:   meshroutes.Weighted(in.destinations(p)),
		Retries: p.Retries.DeepCopy(),
	}
	if d, err := time.ParseDuration(p.Timeout); err == nil {
		r.Timeout = durationpb.New(d)
	}
	return r
}

func tcpRoute(in serviceInput, p v1alpha1.Port) *networkingv1alpha3.TCPRoute {
	return &networkingv1alpha3.TCPRoute{
		Match: []*networkingv1alpha3.L4MatchAttributes{{Port: v1alpha1.IstioPort(p.Port)}},
		Route: in.destinations(p),
	}
}
