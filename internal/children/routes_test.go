// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

// withRoutes sets the routes of an input.
func withRoutes(in children.Input, from *b.MVMBuilder) children.Input {
	in.MVM.Spec.Mesh.Routes = from.Obj().Spec.Mesh.Routes
	return in
}

// routeInputs are the inputs of TestDesiredGolden with routes.
func routeInputs() map[string]children.Input {
	return map[string]children.Input{
		// Routes of requests precede the default routes. A route without a port and without a
		// destination leads to the port of the request.
		"routes": withRoutes(versions("v1", "v1", "v2"), b.MVM("web").HTTPRoutes(
			b.HTTPRoute(`{name: fault, match: [{headers: {x-fault: {exact: "yes"}}}], fault: {abort: {httpStatus: 503, percentage: {value: 100}}}}`),
			b.HTTPRoute(`{name: slow, match: [{uri: {prefix: /slow}, port: 80}], fault: {delay: {fixedDelay: 2s, percentage: {value: 50}}}, timeout: 5s, retries: {attempts: 0}}`),
			b.HTTPRoute(`{name: canary, match: [{headers: {x-canary: {exact: "yes"}}}], route: [{destination: {subset: v2}}]}`),
			b.HTTPRoute(`{name: shadow, match: [{uri: {prefix: /copied}}], mirror: {subset: v2}, mirrorPercentage: {value: 100}}`),
			b.HTTPRoute(`{name: moved, match: [{uri: {prefix: /old}}], redirect: {uri: /new, redirectCode: 308}}`),
			b.HTTPRoute(`{name: rewritten, match: [{uri: {prefix: /api}}], rewrite: {uri: /v1}, headers: {request: {set: {x-api: "1"}}}, corsPolicy: {allowOrigins: [{exact: "https://shop.example.com"}]}}`),
			b.HTTPRoute(`{name: closed, match: [{method: {exact: TRACE}}], directResponse: {status: 405}}`),
			b.HTTPRoute(`{name: split, match: [{uri: {prefix: /split}}], route: [{destination: {subset: v1}, weight: 90}, {destination: {subset: v2}, weight: 10}]}`),
		)),
		// Two HTTP ports: a route for both has the destination of each.
		"routes of two ports": withRoutes(input(b.MVM("web").Ports(b.HTTP("http", 80, 8080), v1alpha1.Port{Name: "grpc", Port: 9000, AppProtocol: "grpc"}), nil), b.MVM("web").HTTPRoutes(
			b.HTTPRoute(`{match: [{uri: {prefix: /a}}, {uri: {prefix: /b}, port: 9000}], timeout: 3s}`),
			b.HTTPRoute(`{match: [{uri: {prefix: /old}}], redirect: {uri: /new}}`),
			b.HTTPRoute(`{timeout: 9s}`),
		)),
		// Clients with a label and destinations with a weight.
		"routes of connections": withRoutes(versions("v1", "v1", "v2"), b.MVM("web").TCPRoutes(
			b.TCPRoute(`{match: [{sourceLabels: {role: batch}}], route: [{destination: {subset: v2}}]}`),
			b.TCPRoute(`{match: [{port: 5432}], route: [{destination: {subset: v1}, weight: 75}, {destination: {subset: v2}, weight: 25}]}`),
		)),
		"routes of tls": withRoutes(input(b.MVM("web").Ports(b.TLS("tls", 443, 8443)), nil), b.MVM("web").TLSRoutes(
			b.TLSRoute(`{match: [{sniHosts: [web.shop.svc.cluster.local]}]}`),
		)),
		// Gateways have a VirtualService with other hosts. Some routes are only for one kind
		// of client.
		"routes of gateways": withRoutes(input(b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.HTTP("admin", 81, 8081), b.TLS("tls", 443, 8443), b.TCP("db", 5432)), nil), b.MVM("web").
			Hosts("shop.example.com", "*.shop.example.com").Gateways("public", "shop/second").
			HTTPRoutes(
				b.HTTPRoute(`{name: both, match: [{uri: {prefix: /slow}}], timeout: 30s}`),
				b.HTTPRoute(`{name: admin, match: [{uri: {prefix: /admin}, port: 81}], timeout: 40s}`),
				b.HTTPRoute(`{name: inside, match: [{uri: {prefix: /inside}, gateways: [mesh]}], timeout: 50s}`),
				b.HTTPRoute(`{name: outside, match: [{uri: {prefix: /outside}, gateways: [public]}], directResponse: {status: 404}}`),
			).
			TLSRoutes(b.TLSRoute(`{match: [{sniHosts: [shop.example.com, web.shop.svc.cluster.local]}]}`))),
	}
}
