// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"slices"
	"testing"
)

const (
	hostsAndGateways = "mesh.routes.hosts and mesh.routes.gateways require each other: set both, or remove both; the name of the Service is always a host for clients in the mesh"
	delegated        = "mesh.routes.http[].delegate is not supported, because the routes of another VirtualService are not validated: specify its routes in mesh.routes.http"
	onlyGateways     = "mesh.routes.gateways must not contain \"mesh\", because a client in the mesh uses the name of the Service: list only Gateways"
)

func routesOf(kind string, routes ...any) map[string]any {
	return map[string]any{"spec.mesh.routes": map[string]any{kind: routes}}
}

func gateways(hosts []any, names ...any) map[string]any {
	return map[string]any{"spec.mesh.routes": map[string]any{"hosts": hosts, "gateways": names}}
}

// routeCases are changes of meshedVirtualMachine in spec.mesh.routes.
var routeCases = map[string]testCase{
	"a route": {set: routesOf("http", map[string]any{
		"match": []any{map[string]any{"headers": map[string]any{"x": map[string]any{"exact": "y"}}}},
		"fault": map[string]any{"abort": map[string]any{"httpStatus": int64(503), "percentage": map[string]any{"value": 12.5}}},
		"route": []any{map[string]any{"destination": map[string]any{"subset": "v2"}}}, "timeout": "2s",
	})},
	"a mirror without a host":  {set: routesOf("http", map[string]any{"mirror": map[string]any{"subset": "v2"}, "mirrors": []any{map[string]any{"destination": map[string]any{}}}})},
	"a route of a server name": {set: routesOf("tls", map[string]any{"match": []any{map[string]any{"sniHosts": []any{"web.shop.svc.cluster.local"}}}})},
	"a route of connections":   {set: routesOf("tcp", map[string]any{"route": []any{map[string]any{"destination": map[string]any{"subset": "v2"}, "weight": int64(1)}}})},
	"a gateway":                {set: gateways([]any{"shop.example.com", "*.shop.example.com"}, "public", "ingress/public")},
	"32 routes":                {set: routesOf("http", slices.Repeat([]any{map[string]any{}}, 32)...)},

	"33 routes":                        {set: routesOf("http", slices.Repeat([]any{map[string]any{}}, 33)...), want: []string{"spec.mesh.routes.http: Too many"}},
	"no routes":                        {set: map[string]any{"spec.mesh.routes": map[string]any{}}},
	"an empty list of routes":          {set: map[string]any{"spec.mesh.routes": map[string]any{"http": []any{}}}, want: []string{"spec.mesh.routes.http", "at least 1 items"}},
	"a route with a typo":              {set: routesOf("http", map[string]any{"matches": []any{}}), want: []string{`unknown field "spec.mesh.routes.http[0].matches"`}},
	"a route with no match":            {set: routesOf("http", map[string]any{"match": []any{}}), want: []string{"spec.mesh.routes.http[0].match", "at least 1 items"}},
	"a route with a delegate":          {set: routesOf("http", map[string]any{"delegate": map[string]any{"name": "x"}}), want: []string{delegated}},
	"a route with Istio's rule":        {set: routesOf("http", map[string]any{"timeout": "5"}), want: []string{"spec.mesh.routes.http[0].timeout", "must be a duration"}},
	"a host without a gateway":         {set: map[string]any{"spec.mesh.routes": map[string]any{"hosts": []any{"shop.example.com"}}}, want: []string{hostsAndGateways}},
	"a gateway without a host":         {set: map[string]any{"spec.mesh.routes": map[string]any{"gateways": []any{"public"}}}, want: []string{hostsAndGateways}},
	"the mesh as a gateway":            {set: gateways([]any{"shop.example.com"}, "mesh"), want: []string{onlyGateways}},
	"a gateway by its DNS name":        {set: gateways([]any{"shop.example.com"}, "public.ingress.svc.cluster.local"), want: []string{"spec.mesh.routes.gateways[0]", "should match"}},
	"every host":                       {set: gateways([]any{"*"}, "public"), want: []string{"spec.mesh.routes.hosts[0]", "should be at least 3 chars long"}},
	"every host of a top-level domain": {set: gateways([]any{"*.com"}, "public"), want: []string{"spec.mesh.routes.hosts[0]", "should match"}},
	"a host without a dot":             {set: gateways([]any{"web"}, "public"), want: []string{"spec.mesh.routes.hosts[0]", "should match"}},
}

func TestRoutes(t *testing.T) { run(t, meshedVirtualMachine, routeCases) }
