// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"strings"
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
)

// TestRoutes checks routes, hosts and gateways. Each rejection names the field, the reason
// and the way out.
func TestRoutes(t *testing.T) {
	const own = "web.shop.svc.cluster.local"
	ports := func() *b.MVMBuilder {
		return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TLS("tls", 443, 8443), b.TCP("db", 5432), b.Direct("ssh", 22), b.UDP("dns", 53))
	}
	http := func(route string) *b.MVMBuilder { return ports().HTTPRoutes(b.HTTPRoute(route)) }
	tls := func(route string) *b.MVMBuilder { return ports().TLSRoutes(b.TLSRoute(route)) }
	tcp := func(route string) *b.MVMBuilder { return ports().TCPRoutes(b.TCPRoute(route)) }
	gateway := func(host string) *b.MVMBuilder { return ports().Hosts(host).Gateways("public") }
	const (
		first = "spec.mesh.routes.http[0]"
		host  = "spec.mesh.routes.hosts[0]"
	)
	for name, tc := range map[string]struct {
		mvm *b.MVMBuilder
		// reason is empty for an accepted spec. want are parts of the message.
		reason v1alpha1.ConditionReason
		want   []string
	}{
		"fault":                     {http(`{fault: {abort: {httpStatus: 503}}}`), "", nil},
		"service by its short name": {http(`{route: [{destination: {host: web, port: {number: 80}}}]}`), "", nil},
		"another service":           {http(`{route: [{destination: {host: api}}], mirror: {host: api.shop.svc.cluster.local}}`), "", nil},
		"subset":                    {http(`{route: [{destination: {subset: v9}}]}`), "", nil},
		"route of a server name":    {tls(`{match: [{sniHosts: [` + own + `]}]}`), "", nil},
		"route of a label":          {tcp(`{match: [{sourceLabels: {role: batch}}], route: [{destination: {subset: v2}}]}`), "", nil},
		"gateway":                   {gateway("shop.example.com").HTTPRoutes(b.HTTPRoute(`{match: [{gateways: [public]}], directResponse: {status: 404}}`)), "", nil},
		"claim of a token":          {gateway("shop.example.com").HTTPRoutes(b.HTTPRoute(`{match: [{gateways: [public], headers: {"@request.auth.claims.group": {exact: admin}}}]}`)), "", nil},

		"foreign destination":        {http(`{route: [{destination: {host: web.other.svc.cluster.local}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".route[0].destination.host", "not a Service of namespace shop", "NAME.shop.svc.cluster.local"}},
		"foreign destination, short": {http(`{route: [{destination: {host: web.other}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".route[0].destination.host"}},
		"foreign domain":             {http(`{route: [{destination: {host: web.shop.svc.example.com}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".route[0].destination.host"}},
		"external destination":       {http(`{route: [{destination: {host: example.com}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".route[0].destination.host"}},
		"any destination":            {http(`{route: [{destination: {host: "*"}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".route[0].destination.host"}},
		"foreign mirror":             {http(`{mirror: {host: spy.other.svc.cluster.local}}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".mirror.host"}},
		"foreign second mirror":      {http(`{mirrors: [{destination: {host: web}}, {destination: {host: spy.other.svc.cluster.local}}]}`), v1alpha1.ReasonHostNotAllowed, []string{first + ".mirrors[1].destination.host"}},
		"foreign destination of TCP": {tcp(`{route: [{destination: {host: web.other.svc.cluster.local}}]}`), v1alpha1.ReasonHostNotAllowed, []string{"spec.mesh.routes.tcp[0].route[0].destination.host"}},
		"foreign destination of TLS": {tls(`{match: [{sniHosts: [` + own + `]}], route: [{destination: {host: web.other.svc.cluster.local}}]}`), v1alpha1.ReasonHostNotAllowed, []string{"spec.mesh.routes.tls[0].route[0].destination.host"}},
		"delegate":                   {http(`{delegate: {name: routes, namespace: other}}`), v1alpha1.ReasonInvalidSpec, []string{first + ".delegate", "mesh.routes.http"}},
		"unknown port":               {http(`{match: [{port: 8080}]}`), v1alpha1.ReasonInvalidPort, []string{first + ".match[0].port", "8080 is not the port of an HTTP port"}},
		"port of another protocol":   {http(`{match: [{port: 5432}]}`), v1alpha1.ReasonInvalidPort, []string{first + ".match[0].port"}},
		"unknown port of TCP":        {tcp(`{match: [{port: 80}]}`), v1alpha1.ReasonInvalidPort, []string{"spec.mesh.routes.tcp[0].match[0].port"}},
		"unknown destination port":   {http(`{route: [{destination: {port: {number: 81}}}]}`), v1alpha1.ReasonInvalidPort, []string{first + ".route[0].destination.port.number"}},
		"unknown gateway of a match": {http(`{match: [{gateways: [public]}]}`), v1alpha1.ReasonInvalidSpec, []string{first + ".match[0].gateways[0]", "mesh.routes.gateways"}},
		"gateway of TCP":             {tcp(`{match: [{gateways: [mesh]}]}`), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.tcp[0].match[0].gateways"}},
		"foreign server name":        {tls(`{match: [{sniHosts: [web.other.svc.cluster.local]}]}`), v1alpha1.ReasonHostNotAllowed, []string{"spec.mesh.routes.tls[0].match[0].sniHosts[0]", own}},
		"no server name":             {tls(`{match: [{port: 443}]}`), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.tls[0].match[0].sniHosts", own}},
		"no match of TLS":            {tls(`{}`), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.tls[0].match"}},
		"no HTTP port":               {b.MVM("web").Ports(b.TCP("db", 5432)).HTTPRoutes(b.HTTPRoute(`{timeout: 1s}`)), v1alpha1.ReasonInvalidPort, []string{first, "applies to no port"}},
		"subset of a headless Service": {
			mvm:    b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.HTTP("http", 8080, 8080)).HTTPRoutes(b.HTTPRoute(`{route: [{destination: {subset: v1}}]}`)),
			reason: v1alpha1.ReasonInvalidSpec, want: []string{first + ".route[0].destination.subset"},
		},
		"connections of a headless Service": {
			mvm:    b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.TCP("db", 5432)).TCPRoutes(b.TCPRoute(`{}`)),
			reason: v1alpha1.ReasonInvalidSpec, want: []string{"spec.mesh.routes.tcp[0]", "headless"},
		},

		// Istio's own validation.
		"status of a fault":       {http(`{fault: {abort: {httpStatus: 42}}}`), v1alpha1.ReasonInvalidSpec, []string{first, "Istio rejects the route", "HTTP status 42"}},
		"fault without a kind":    {http(`{fault: {}}`), v1alpha1.ReasonInvalidSpec, []string{first, "must have an abort and/or a delay"}},
		"route and redirect":      {http(`{route: [{destination: {}}], redirect: {uri: /}}`), v1alpha1.ReasonInvalidSpec, []string{first, "both route and redirect"}},
		"weights of zero":         {http(`{route: [{destination: {subset: v1}}, {destination: {subset: v2}}]}`), v1alpha1.ReasonInvalidSpec, []string{first, "total destination weight = 0"}},
		"invalid regex":           {http(`{match: [{uri: {regex: "("}}]}`), v1alpha1.ReasonInvalidSpec, []string{first, "RE2"}},
		"retries without a try":   {http(`{retries: {retryOn: 5xx}}`), v1alpha1.ReasonInvalidSpec, []string{first, "attempts are set to 0"}},
		"header of a pseudo name": {http(`{headers: {request: {remove: [":path"]}}}`), v1alpha1.ReasonInvalidSpec, []string{first, ":path"}},
		"claim without a gateway": {http(`{match: [{headers: {"@request.auth.claims.group": {exact: admin}}}]}`), v1alpha1.ReasonInvalidSpec, []string{first, "only supported for gateway"}},
		"second route":            {http(`{timeout: 1s}`).HTTPRoutes(b.HTTPRoute(`{mirror: {host: web}, mirrors: [{destination: {host: web}}]}`)), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.http[1]", "both mirror and mirrors"}},
		"null routes of HTTP":     {ports().HTTPRoutes((*networkingv1alpha3.HTTPRoute)(nil)), v1alpha1.ReasonInvalidSpec, []string{first, "null"}},
		"null routes of TLS":      {ports().TLSRoutes((*networkingv1alpha3.TLSRoute)(nil)), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.tls[0]", "null"}},
		"null routes of TCP":      {ports().TCPRoutes((*networkingv1alpha3.TCPRoute)(nil)), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.tcp[0]", "null"}},

		"host of the cluster":              {gateway("web.other.svc.cluster.local"), v1alpha1.ReasonHostNotAllowed, []string{host, "cluster.local"}},
		"host of a set of clusters":        {gateway("web.shop.svc.clusterset.local"), v1alpha1.ReasonHostNotAllowed, []string{host, "clusterset.local"}},
		"host below svc":                   {gateway("web.other.svc"), v1alpha1.ReasonHostNotAllowed, []string{host}},
		"own name":                         {gateway(own), v1alpha1.ReasonHostNotAllowed, []string{host}},
		"name of a Service":                {gateway("api.other"), v1alpha1.ReasonHostNotAllowed, []string{host, "Service other/api"}},
		"every host":                       {gateway("*"), v1alpha1.ReasonHostNotAllowed, []string{host, "every request"}},
		"wildcard of a domain of the top":  {gateway("*.com"), v1alpha1.ReasonHostNotAllowed, []string{host, "such as *.shop.example.com"}},
		"wildcard of Services":             {gateway("*.svc.cluster.local"), v1alpha1.ReasonHostNotAllowed, []string{host}},
		"wildcard of the cluster's domain": {gateway("*.example.com"), v1alpha1.ReasonHostNotAllowed, []string{host, "too general"}},
		"host without a dot":               {gateway("web"), v1alpha1.ReasonHostNotAllowed, []string{host, "with a dot"}},
		"address":                          {gateway("10.0.0.1/8"), v1alpha1.ReasonHostNotAllowed, []string{host}},
		"hosts that overlap":               {ports().Hosts("*.example.com", "shop.example.com").Gateways("public"), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.hosts[1]", "overlap"}},
		"hosts without gateways":           {ports().Hosts("shop.example.com"), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes", "require each other"}},
		"gateways without hosts":           {ports().Gateways("public"), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes", "require each other"}},
		"only TCP":                         {b.MVM("web").Ports(b.TCP("db", 5432)).Hosts("shop.example.com").Gateways("public"), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.gateways", "no HTTP or TLS port"}},
		"gateway of another namespace":     {ports().Hosts("shop.example.com").Gateways("ingress/public"), v1alpha1.ReasonGatewayNotAllowed, []string{"spec.mesh.routes.gateways[0]", "tenancy.gateways", "add ingress/public to allowed"}},
		"the mesh":                         {ports().Hosts("shop.example.com").Gateways("mesh"), v1alpha1.ReasonGatewayNotAllowed, []string{"spec.mesh.routes.gateways[0]", "list only Gateways"}},
		"gateway by its DNS name":          {ports().Hosts("shop.example.com").Gateways("public.ingress.svc.cluster.local"), v1alpha1.ReasonGatewayNotAllowed, []string{"spec.mesh.routes.gateways[0]", "NAMESPACE/NAME"}},
		"one gateway twice":                {ports().Hosts("shop.example.com").Gateways("public", "shop/public"), v1alpha1.ReasonInvalidSpec, []string{"spec.mesh.routes.gateways[1]", "duplicate"}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := validate.Cluster{IsService: func(namespace, name string) bool { return namespace == "other" && name == "api" }}
			if name == "wildcard of the cluster's domain" {
				cluster.Domain = "k8s.example.com"
			}
			err := validate.SpecIn(cluster, tc.mvm.Obj())
			invalid, found := validate.FirstInvalid(err)
			switch {
			case tc.reason == "" && err != nil:
				t.Fatalf("rejected: %v", err)
			case tc.reason == "":
				return
			case !found:
				t.Fatalf("accepted, want %s", tc.reason)
			case invalid.Reason != tc.reason:
				t.Errorf("reason %s, want %s: %v", invalid.Reason, tc.reason, invalid)
			}
			for _, part := range tc.want {
				if !strings.Contains(invalid.Error(), part) {
					t.Errorf("%v\ndoes not contain %q", invalid, part)
				}
			}
			if strings.Contains(invalid.Message, "\n") {
				t.Errorf("the message has several lines: %q", invalid.Message)
			}
		})
	}
}

// TestPermittedGateways checks the gateways that an administrator permits.
func TestPermittedGateways(t *testing.T) {
	listed := configv1alpha1.Gateways{Mode: configv1alpha1.GatewaysListed, Allowed: []string{"ingress/public", "edge/*"}}
	for name, tc := range map[string]struct {
		tenancy configv1alpha1.Gateways
		gateway string
		want    bool
	}{
		"default, own":              {configv1alpha1.Gateways{}, "public", true},
		"default, own by namespace": {configv1alpha1.Gateways{}, "shop/public", true},
		"default, another":          {configv1alpha1.Gateways{}, "ingress/public", false},
		"listed":                    {listed, "ingress/public", true},
		"listed, own":               {listed, "public", true},
		"not listed":                {listed, "ingress/private", false},
		"listed namespace":          {listed, "edge/any", true},
		"prefix of a namespace":     {listed, "edge-2/any", false},
		"any":                       {configv1alpha1.Gateways{Mode: configv1alpha1.GatewaysAny}, "ingress/private", true},
	} {
		t.Run(name, func(t *testing.T) {
			mvm := b.MVM("web").Ports(b.HTTP("http", 80, 8080)).Hosts("shop.example.com").Gateways(tc.gateway).Obj()
			err := validate.SpecIn(validate.Cluster{Gateways: tc.tenancy}, mvm)
			if invalid, rejected := validate.FirstInvalid(err); rejected == tc.want || rejected && invalid.Reason != v1alpha1.ReasonGatewayNotAllowed {
				t.Errorf("got %v", err)
			}
		})
	}
}
