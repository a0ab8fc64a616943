// SPDX-License-Identifier: Apache-2.0

package meshroutes_test

import (
	"strconv"
	"strings"
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/meshroutes"
)

const host = "web.shop.svc.cluster.local"

// versions are default destinations with weights.
func versions(p v1alpha1.Port) []*networkingv1alpha3.RouteDestination {
	at := func(subset string, weight int32) *networkingv1alpha3.RouteDestination {
		return &networkingv1alpha3.RouteDestination{Weight: weight, Destination: &networkingv1alpha3.Destination{
			Host: host, Subset: subset, Port: &networkingv1alpha3.PortSelector{Number: v1alpha1.IstioPort(p.Port)},
		}}
	}
	return []*networkingv1alpha3.RouteDestination{at("v1", 90), at("v2", 10)}
}

// TestHTTP builds routes for clients in the mesh and for a gateway. The guest has the HTTP
// ports 80 and 81.
func TestHTTP(t *testing.T) {
	for name, tc := range map[string]struct {
		route         string
		mesh, gateway string // PORT:DESTINATION, separated by spaces
	}{
		"default":             {`{timeout: 1s}`, "80:web/v1:80,web/v2:80 81:web/v1:81,web/v2:81", "any:web/v1:80,web/v2:80"},
		"one port":            {`{match: [{port: 81}]}`, "81:web/v1:81,web/v2:81", ""},
		"no port":             {`{route: [{destination: {subset: v3}}]}`, "80:web/v3:80 81:web/v3:81", "any:web/v3:80"},
		"port of destination": {`{route: [{destination: {port: {number: 81}}}]}`, "any:web:81", "any:web:81"},
		"another service":     {`{route: [{destination: {host: api}}]}`, "any:api:0", "any:api:0"},
		"mirror":              {`{route: [{destination: {host: api}}], mirror: {}}`, "80:api:0+web:80 81:api:0+web:81", "any:api:0+web:80"},
		"redirect":            {`{redirect: {uri: /}}`, "any:", "any:"},
		"only the mesh":       {`{match: [{gateways: [mesh]}]}`, "80:web/v1:80,web/v2:80 81:web/v1:81,web/v2:81", ""},
		"only the gateway":    {`{match: [{gateways: [public]}]}`, "", "any:web/v1:80,web/v2:80"},
		"another gateway":     {`{match: [{gateways: [other]}]}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			mvm := b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.HTTP("admin", 81, 8081), b.TCP("db", 5432)).
				Hosts("shop.example.com").Gateways("public").HTTPRoutes(b.HTTPRoute(tc.route)).Obj()
			before := mvm.DeepCopy()
			if got := text(meshroutes.OfMesh(mvm, host, versions).HTTP()); got != tc.mesh {
				t.Errorf("mesh: %q, want %q", got, tc.mesh)
			}
			if got := text(meshroutes.OfGateways(mvm, host, versions).HTTP()); got != tc.gateway {
				t.Errorf("gateway: %q, want %q", got, tc.gateway)
			}
			if before.Spec.Mesh.Routes.HTTP[0].String() != mvm.Spec.Mesh.Routes.HTTP[0].String() {
				t.Error("the spec was changed")
			}
		})
	}
}

func text(routes []*networkingv1alpha3.HTTPRoute) string {
	var out []string
	for _, r := range routes {
		port := "any"
		for _, m := range r.GetMatch() {
			if m.GetPort() != 0 {
				port = number(m.GetPort())
			}
		}
		var to []string
		for _, d := range r.GetRoute() {
			to = append(to, destination(d.GetDestination()))
		}
		line := port + ":" + strings.Join(to, ",")
		if r.GetMirror() != nil {
			line += "+" + destination(r.GetMirror())
		}
		out = append(out, line)
	}
	return strings.Join(out, " ")
}

func destination(d *networkingv1alpha3.Destination) string {
	name, _, _ := strings.Cut(d.GetHost(), ".")
	if d.GetSubset() != "" {
		name += "/" + d.GetSubset()
	}
	return name + ":" + number(d.GetPort().GetNumber())
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
