// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestAllow checks the clients and ports of mesh.allow.
func TestAllow(t *testing.T) {
	const path = "InvalidSpec spec.mesh.allow[0]"
	guest := func(a v1alpha1.AllowedClient) *b.MVMBuilder {
		return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432), b.Direct("ssh", 22), b.UDP("dns", 53)).Allow(a)
	}
	ports := func(names ...string) v1alpha1.AllowedClient {
		return v1alpha1.AllowedClient{Namespace: "frontend", Ports: names}
	}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"service account":                      {guest(v1alpha1.AllowedClient{ServiceAccount: "frontend/web", Ports: []string{"http", "db"}}), nil},
		"service account of the namespace":     {guest(v1alpha1.AllowedClient{ServiceAccount: "web.v1"}), nil},
		"namespace":                            {guest(ports()), nil},
		"ambient":                              {guest(ports("db")).DataPlane(v1alpha1.DataPlaneAmbient), nil},
		"no client":                            {guest(v1alpha1.AllowedClient{Ports: []string{"http"}}), []string{path}},
		"both":                                 {guest(v1alpha1.AllowedClient{ServiceAccount: "web", Namespace: "frontend"}), []string{path}},
		"two slashes":                          {guest(v1alpha1.AllowedClient{ServiceAccount: "td/frontend/web"}), []string{path + ".serviceAccount"}},
		"wildcard service account":             {guest(v1alpha1.AllowedClient{ServiceAccount: "frontend/*"}), []string{path + ".serviceAccount"}},
		"wildcard namespace":                   {guest(v1alpha1.AllowedClient{Namespace: "*"}), []string{path + ".namespace"}},
		"prefix of namespaces":                 {guest(v1alpha1.AllowedClient{Namespace: "front*"}), []string{path + ".namespace"}},
		"unknown port":                         {guest(ports("http", "https")), []string{"InvalidPort spec.mesh.allow[0].ports[1]"}},
		"number of a port":                     {guest(ports("8080")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"Direct port":                          {guest(ports("ssh")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"UDP port":                             {guest(ports("dns")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"port without mutual TLS":              {guest(ports("http", "db")).PortMTLS("db", v1alpha1.MTLSModeDisable), []string{"InvalidPort spec.mesh.allow[0].ports[1]"}},
		"all ports, one without mutual TLS":    {guest(ports()).PortMTLS("db", v1alpha1.MTLSModeDisable), []string{path + ".ports"}},
		"other ports, one without mutual TLS":  {guest(ports("http")).PortMTLS("db", v1alpha1.MTLSModeDisable), nil},
		"port with mutual TLS mode Permissive": {guest(ports()).MTLS(v1alpha1.MTLSModePermissive), nil},
		"guest without ports":                  {b.MVM("web").NoPorts().Allow(ports()), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuthorization checks the policies of mesh.authorization.
func TestAuthorization(t *testing.T) {
	const (
		entry = "InvalidSpec spec.mesh.authorization[0]"
		// required is the rejection in ambient mode without a waypoint.
		required = "WaypointRequired spec.mesh.authorization[0]"
		rules    = ".rules[0]"
		ports    = "InvalidPort spec.mesh.authorization[0].rules[0].to[0].operation.ports[0]"
	)
	type (
		rule      = securityv1beta1.Rule
		source    = securityv1beta1.Source
		operation = securityv1beta1.Operation
		condition = securityv1beta1.Condition
	)
	from := func(s *source) *rule { return &rule{From: []*securityv1beta1.Rule_From{{Source: s}}} }
	to := func(o *operation) *rule { return &rule{To: []*securityv1beta1.Rule_To{{Operation: o}}} }
	when := func(key string, values ...string) *rule {
		return &rule{When: []*condition{{Key: key, Values: values}}}
	}
	guest := func(action v1alpha1.AuthorizationAction, rules ...*rule) *b.MVMBuilder {
		a := v1alpha1.Authorization{Name: "p", Action: action, Rules: rules}
		if action == v1alpha1.AuthorizationActionCustom {
			a.Provider = "opa"
		}
		return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432), b.Direct("ssh", 22)).Authorization(a)
	}
	tcpOnly := func(action v1alpha1.AuthorizationAction, r *rule) *b.MVMBuilder {
		return b.MVM("web").Ports(b.TCP("db", 5432)).Authorization(v1alpha1.Authorization{Name: "p", Action: action, Rules: v1alpha1.AuthorizationRules{r}})
	}
	ambient := func(m *b.MVMBuilder) *b.MVMBuilder { return m.DataPlane(v1alpha1.DataPlaneAmbient) }
	const allow, deny, audit, custom = v1alpha1.AuthorizationActionAllow, v1alpha1.AuthorizationActionDeny, v1alpha1.AuthorizationActionAudit, v1alpha1.AuthorizationActionCustom
	get := &operation{Methods: []string{"GET"}}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"everything":                    {guest(deny, &rule{}), nil},
		"a method":                      {guest(allow, to(get)), nil},
		"a method and its port":         {guest(deny, to(&operation{Methods: []string{"GET"}, Ports: []string{"8080"}})), nil},
		"audit":                         {guest(audit, &rule{}), nil},
		"external authorizer":           {guest(custom, to(get)), nil},
		"a second entry of this name":   {guest(allow, &rule{}).Authorization(v1alpha1.Authorization{Name: "p", Action: allow, Rules: v1alpha1.AuthorizationRules{{}}}), []string{"InvalidSpec spec.mesh.authorization[1].name"}},
		"a name with a dot":             {b.MVM("web").Authorization(v1alpha1.Authorization{Name: "a.b", Action: allow, Rules: v1alpha1.AuthorizationRules{{}}}), []string{entry + ".name"}},
		"an unknown action":             {guest("Log", &rule{}), []string{entry + ".action"}},
		"no rules":                      {guest(allow), []string{entry + ".rules"}},
		"33 rules":                      {guest(allow, slices.Repeat([]*rule{{}}, 33)...), []string{entry + ".rules"}},
		"a null rule":                   {guest(allow, nil), []string{entry + rules}},
		"Custom without a provider":     {b.MVM("web").Authorization(v1alpha1.Authorization{Name: "p", Action: custom, Rules: v1alpha1.AuthorizationRules{{}}}), []string{entry + ".provider"}},
		"a provider without Custom":     {b.MVM("web").Authorization(v1alpha1.Authorization{Name: "p", Action: deny, Provider: "opa", Rules: v1alpha1.AuthorizationRules{{}}}), []string{entry + ".provider"}},
		"Custom with an identity":       {guest(custom, from(&source{Namespaces: []string{"frontend"}})), []string{entry + rules + ".from[0].source"}},
		"Custom with an address":        {guest(custom, from(&source{IpBlocks: []string{"192.0.2.0/24"}})), nil},
		"an empty source":               {guest(allow, from(&source{})), []string{entry + rules + ".from[0].source"}},
		"no source":                     {guest(allow, from(nil)), []string{entry + rules + ".from[0].source"}},
		"an empty operation":            {guest(allow, to(&operation{})), []string{entry + rules + ".to[0].operation"}},
		"a condition without values":    {guest(allow, when("source.ip")), []string{entry + rules + ".when[0]"}},
		"the port of the Service":       {guest(allow, to(&operation{Ports: []string{"80"}})), []string{ports}},
		"the name of a port":            {guest(allow, to(&operation{Ports: []string{"http"}})), []string{ports}},
		"a Direct port":                 {guest(deny, to(&operation{Ports: []string{"22"}})), []string{ports}},
		"an unknown port":               {guest(deny, to(&operation{Ports: []string{"9999"}})), []string{ports}},
		"an unknown port not":           {guest(deny, to(&operation{NotPorts: []string{"80"}})), []string{"InvalidPort spec.mesh.authorization[0].rules[0].to[0].operation.notPorts[0]"}},
		"a condition on a Service port": {guest(deny, when("destination.port", "8080", "80")), []string{"InvalidPort spec.mesh.authorization[0].rules[0].when[0].values[1]"}},
		"a method of a TCP port":        {guest(deny, to(&operation{Methods: []string{"GET"}, Ports: []string{"5432"}})), []string{ports}},
		"a method permitted on TCP":     {guest(allow, to(&operation{Methods: []string{"GET"}, Ports: []string{"5432"}})), []string{ports}},
		"a header without HTTP ports":   {tcpOnly(deny, when("request.headers[x]", "y")), []string{entry + rules}},
		"a source without HTTP ports":   {tcpOnly(deny, from(&source{Namespaces: []string{"frontend"}})), nil},
		"ambient":                       {ambient(guest(allow, from(&source{Principals: []string{"*"}}), to(&operation{Ports: []string{"8080"}}))), nil},
		"ambient, a method":             {ambient(guest(allow, to(get))), []string{required + rules}},
		"ambient, a token":              {ambient(guest(deny, from(&source{NotRequestPrincipals: []string{"*"}}))), []string{required + rules}},
		"ambient, a remote address":     {ambient(guest(deny, from(&source{RemoteIpBlocks: []string{"192.0.2.0/24"}}))), []string{required + rules}},
		"ambient, a trust domain":       {ambient(guest(allow, from(&source{TrustDomains: []string{"td"}}))), []string{required + rules}},
		"ambient, a header":             {ambient(guest(deny, when("request.headers[x]", "y"))), []string{required + rules}},
		"ambient, audit":                {ambient(guest(audit, &rule{})), []string{required + ".action"}},
		"ambient, external authorizer":  {ambient(guest(custom, &rule{})), []string{required + ".action"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuthorizedPortMessages checks that the messages contain the number to use.
func TestAuthorizedPortMessages(t *testing.T) {
	for value, want := range map[string]string{
		"80":   `"80" is not the targetPort of a port, which the proxy compares: use "8080", the targetPort of port "http"`,
		"http": `"http" is not the targetPort of a port, which the proxy compares: use "8080", the targetPort of port "http"`,
		"22":   `port "ssh" bypasses the proxy`,
		"1":    `"1" is not the targetPort of a TCP port via Mesh in spec.ports`,
	} {
		mvm := b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22)).Authorization(v1alpha1.Authorization{
			Name: "p", Action: v1alpha1.AuthorizationActionAllow,
			Rules: v1alpha1.AuthorizationRules{{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: []string{value}}}}}},
		})
		if err := validate.Spec(mvm.Obj()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", value, err, want)
		}
	}
}

// TestPoliciesInTheRootNamespace rejects policies whose selectors would apply to the
// pods of all namespaces.
func TestPoliciesInTheRootNamespace(t *testing.T) {
	mvm := b.MVM("web").Namespace("istio-system").Allow(v1alpha1.AllowedClient{Namespace: "frontend"}).
		Authorization(v1alpha1.Authorization{Name: "p", Action: v1alpha1.AuthorizationActionDeny, Rules: v1alpha1.AuthorizationRules{{}}}).
		MaxConnections("http", 1).RateLimit("http", v1alpha1.RateLimit{Requests: 1, Per: v1alpha1.RateLimitPeriodHour}).Obj()
	for root, want := range map[string][]string{
		"istio-system": {"InvalidSpec spec.mesh.allow", "InvalidSpec spec.mesh.authorization", "InvalidPort spec.ports[0].maxConnections", "InvalidPort spec.ports[0].rateLimit"},
		"mesh":         nil,
		"":             nil,
	} {
		got := validatetest.Rejections(validate.SpecIn(validate.Cluster{RootNamespace: root}, mvm))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("root namespace %q (-want +got):\n%s", root, diff)
		}
	}
	if err := validate.SpecIn(validate.Cluster{RootNamespace: "istio-system"}, b.MVM("web").Namespace("istio-system").Obj()); err != nil {
		t.Errorf("a guest without such policies is rejected: %v", err)
	}
}
