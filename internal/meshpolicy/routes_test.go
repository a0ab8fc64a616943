// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"testing"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/meshpolicy"
)

const webHost = "web.shop.svc.cluster.local"

// metaOf returns the metadata of an object of an age in seconds.
func metaOf(namespace, name string, age int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000-int64(age), 0))}
}

type (
	vsSpec    = networkingv1alpha3.VirtualService
	httpRoute = networkingv1alpha3.HTTPRoute
	httpMatch = networkingv1alpha3.HTTPMatchRequest
	tcpRoute  = networkingv1alpha3.TCPRoute
	tcpMatch  = networkingv1alpha3.L4MatchAttributes
)

// virtualService returns a VirtualService for the host, with one HTTP and one TCP
// route for all ports, that is exported to its own namespace.
func virtualService(namespace, name string, age int, change func(*vsSpec)) *networkingv1.VirtualService {
	vs := &networkingv1.VirtualService{ObjectMeta: metaOf(namespace, name, age)}
	vs.Spec.Hosts = []string{webHost}
	vs.Spec.ExportTo = []string{"."}
	vs.Spec.Http = []*httpRoute{{}}
	vs.Spec.Tcp = []*tcpRoute{{}}
	if change != nil {
		change(&vs.Spec)
	}
	return vs
}

func TestRouteBefore(t *testing.T) {
	http, tcp := builders.HTTP("http", 80, 8080), builders.TCP("db", 5432)
	for name, tc := range map[string]struct {
		namespace string
		age       int
		change    func(*vsSpec)
		http, tcp string
	}{
		"older":                       {"shop", 2, nil, "foreign", "foreign"},
		"younger":                     {"shop", 0, nil, "", ""},
		"of the same second, by name": {"shop", 1, nil, "foreign", "foreign"},
		"exported to the namespace":   {"shop", 2, func(s *vsSpec) { s.ExportTo = []string{"shop", "other"} }, "foreign", "foreign"},
		"of another namespace":        {"other", 2, func(s *vsSpec) { s.ExportTo = []string{"shop"} }, "", ""},
		"exported to all":             {"shop", 2, func(s *vsSpec) { s.ExportTo = []string{".", "*"} }, "", ""},
		"without exportTo":            {"shop", 2, func(s *vsSpec) { s.ExportTo = nil }, "foreign", "foreign"},
		"exported to others":          {"shop", 2, func(s *vsSpec) { s.ExportTo = []string{"other"} }, "", ""},
		"for a gateway":               {"shop", 2, func(s *vsSpec) { s.Gateways = []string{"ingress/public"} }, "", ""},
		"for a gateway and the mesh":  {"shop", 2, func(s *vsSpec) { s.Gateways = []string{"ingress/public", "mesh"} }, "foreign", "foreign"},
		"short name":                  {"shop", 2, func(s *vsSpec) { s.Hosts = []string{"web"} }, "foreign", "foreign"},
		"another host":                {"shop", 2, func(s *vsSpec) { s.Hosts = []string{"db.shop.svc.cluster.local", "db"} }, "", ""},
		"one of several hosts":        {"shop", 2, func(s *vsSpec) { s.Hosts = []string{"db", webHost} }, "foreign", "foreign"},
		"wildcard":                    {"shop", 2, func(s *vsSpec) { s.Hosts = []string{"*.shop.svc.cluster.local"} }, "", "foreign"},
		"wildcard of another domain":  {"shop", 2, func(s *vsSpec) { s.Hosts = []string{"*.example.com"} }, "", ""},
		"delegate":                    {"shop", 2, func(s *vsSpec) { s.Hosts = nil }, "", ""},
		"only HTTP":                   {"shop", 2, func(s *vsSpec) { s.Tcp = nil }, "foreign", ""},
		"only TCP":                    {"shop", 2, func(s *vsSpec) { s.Http = nil }, "", "foreign"},
		"for the port": {"shop", 2, func(s *vsSpec) {
			s.Http[0].Match = []*httpMatch{{Port: 80}}
			s.Tcp[0].Match = []*tcpMatch{{Port: 5432}}
		}, "foreign", "foreign"},
		"for another port":             {"shop", 2, func(s *vsSpec) { s.Http[0].Match = []*httpMatch{{Port: 81}}; s.Tcp[0].Match = []*tcpMatch{{Port: 81}} }, "", ""},
		"one alternative for the port": {"shop", 2, func(s *vsSpec) { s.Http[0].Match = []*httpMatch{{Port: 81}, {Port: 80}} }, "foreign", "foreign"},
		"for some clients": {"shop", 2, func(s *vsSpec) {
			s.Http[0].Match = []*httpMatch{{SourceLabels: map[string]string{"app": "a"}}}
			s.Tcp = nil
		}, "", ""},
		"for another namespace": {"shop", 2, func(s *vsSpec) { s.Http[0].Match = []*httpMatch{{SourceNamespace: "other"}}; s.Tcp = nil }, "", ""},
		"for the namespace":     {"shop", 2, func(s *vsSpec) { s.Http[0].Match = []*httpMatch{{SourceNamespace: "shop"}}; s.Tcp = nil }, "foreign", ""},
		"route for a gateway":   {"shop", 2, func(s *vsSpec) { s.Http[0].Match = []*httpMatch{{Gateways: []string{"ingress/public"}}}; s.Tcp = nil }, "", ""},
		"for some addresses":    {"shop", 2, func(s *vsSpec) { s.Tcp[0].Match = []*tcpMatch{{DestinationSubnets: []string{"10.0.0.0/8"}}} }, "foreign", ""},
		"for a path of HTTP": {"shop", 2, func(s *vsSpec) {
			s.Http[0].Match = []*httpMatch{{Uri: &networkingv1alpha3.StringMatch{MatchType: &networkingv1alpha3.StringMatch_Prefix{Prefix: "/a"}}}}
		}, "foreign", "foreign"},
	} {
		t.Run(name, func(t *testing.T) {
			own := virtualService("shop", "web", 1, nil)
			all := []*networkingv1.VirtualService{own, virtualService(tc.namespace, "foreign", tc.age, tc.change)}
			for _, p := range []struct {
				port v1alpha1.Port
				want string
			}{{http, tc.http}, {tcp, tc.tcp}} {
				if got := nameOf(meshpolicy.RouteBefore(own, all, webHost, p.port)); got != p.want {
					t.Errorf("port %s is routed by %q, want %q", p.port.Name, got, p.want)
				}
			}
			if got := meshpolicy.RouteBefore(own, all, webHost, builders.TLS("tls", 443, 8443)); got != nil {
				t.Errorf("a port with TLS is routed by %s, which has no TLS route", got.Name)
			}
		})
	}
}

// TestRouteOfTLSBefore checks the routes of a port on which clients use TLS.
func TestRouteOfTLSBefore(t *testing.T) {
	type match = networkingv1alpha3.TLSMatchAttributes
	for name, tc := range map[string]struct {
		age   int
		match *match
		want  string
	}{
		"older":             {2, &match{SniHosts: []string{webHost}}, "foreign"},
		"younger":           {0, &match{SniHosts: []string{webHost}}, ""},
		"wildcard":          {2, &match{SniHosts: []string{"*.shop.svc.cluster.local"}}, "foreign"},
		"other server name": {2, &match{SniHosts: []string{"db.shop.svc.cluster.local"}}, ""},
		"for the port":      {2, &match{Port: 443, SniHosts: []string{webHost}}, "foreign"},
		"for another port":  {2, &match{Port: 444, SniHosts: []string{webHost}}, ""},
		"for some clients":  {2, &match{SniHosts: []string{webHost}, SourceLabels: map[string]string{"app": "a"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			own := virtualService("shop", "web", 1, nil)
			foreign := virtualService("shop", "foreign", tc.age, func(s *vsSpec) {
				s.Tls = []*networkingv1alpha3.TLSRoute{{Match: []*match{tc.match}}}
			})
			if got := nameOf(meshpolicy.RouteBefore(own, []*networkingv1.VirtualService{own, foreign}, webHost, builders.TLS("tls", 443, 8443))); got != tc.want {
				t.Errorf("the port is routed by %q, want %q", got, tc.want)
			}
		})
	}
}

func nameOf(vs *networkingv1.VirtualService) string {
	if vs == nil {
		return ""
	}
	return vs.Name
}

// TestVisibilityOfRoutes checks which of two VirtualServices precedes, by exportTo
// and age.
func TestVisibilityOfRoutes(t *testing.T) {
	var unset []string
	private, public, named, others := []string{"."}, []string{"*"}, []string{"shop", "other"}, []string{"other"}
	for name, tc := range map[string]struct {
		own, foreign   []string
		older, younger bool // whether the foreign one precedes at this age
	}{
		"both by default":          {unset, unset, true, false},
		"private before default":   {unset, private, true, true},
		"public beside default":    {unset, public, true, false},
		"default before public":    {public, unset, true, true},
		"private before public":    {public, private, true, true},
		"named before public":      {public, named, true, true},
		"both public":              {public, public, true, false},
		"default beside private":   {private, unset, true, false},
		"public after private":     {private, public, false, false},
		"both private":             {private, named, true, false},
		"not exported here":        {public, others, false, false},
		"the own is not exported":  {others, private, false, false},
		"neither is exported here": {others, others, false, false},
		"named before default":     {unset, named, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			own := virtualService("shop", "web", 1, func(s *vsSpec) { s.ExportTo = tc.own })
			for age, want := range map[int]bool{2: tc.older, 0: tc.younger} {
				foreign := virtualService("shop", "foreign", age, func(s *vsSpec) { s.ExportTo = tc.foreign })
				got := meshpolicy.RouteBefore(own, []*networkingv1.VirtualService{own, foreign}, webHost, builders.HTTP("http", 80, 8080))
				if (got != nil) != want {
					t.Errorf("age %d: the foreign VirtualService precedes: %t, want %t", age, got != nil, want)
				}
			}
		})
	}
}

type drSpec = networkingv1alpha3.DestinationRule

func subset(name, version string) *networkingv1alpha3.Subset {
	return &networkingv1alpha3.Subset{Name: name, Labels: map[string]string{v1alpha1.LabelVersion: version}}
}

func destinationRule(namespace, name string, age int, change func(*drSpec)) *networkingv1.DestinationRule {
	dr := &networkingv1.DestinationRule{ObjectMeta: metaOf(namespace, name, age)}
	dr.Spec.Host = webHost
	dr.Spec.ExportTo = []string{"."}
	change(&dr.Spec)
	return dr
}

func TestEffectiveDestination(t *testing.T) {
	policy := &networkingv1alpha3.TrafficPolicy{}
	whole := func(s *drSpec) {
		s.TrafficPolicy = policy
		s.Subsets = []*networkingv1alpha3.Subset{subset("v1", "v1")}
	}
	// with returns a rule with a traffic policy and a subset, changed further.
	with := func(change func(*drSpec)) func(*drSpec) {
		return func(s *drSpec) { whole(s); change(s) }
	}
	for name, tc := range map[string]struct {
		namespace      string
		age            int
		change         func(*drSpec)
		policy, subset string
	}{
		"older":                             {"shop", 2, whole, "foreign", "foreign"},
		"younger":                           {"shop", 0, whole, "web", "web"},
		"older, another subset":             {"shop", 2, func(s *drSpec) { s.Subsets = []*networkingv1alpha3.Subset{subset("v2", "v2")} }, "web", "web"},
		"older, only a traffic policy":      {"shop", 2, func(s *drSpec) { s.TrafficPolicy = policy }, "foreign", "web"},
		"short name":                        {"shop", 2, with(func(s *drSpec) { s.Host = "web" }), "foreign", "foreign"},
		"wildcard":                          {"shop", 2, with(func(s *drSpec) { s.Host = "*.shop.svc.cluster.local" }), "web", "web"},
		"of another namespace":              {"istio-system", 2, with(func(s *drSpec) { s.ExportTo = nil }), "web", "web"},
		"of another namespace, to this one": {"other", 2, with(func(s *drSpec) { s.ExportTo = []string{"shop"} }), "web", "web"},
		"with a workload selector": {"shop", 2, with(func(s *drSpec) {
			s.WorkloadSelector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "a"}}
		}), "web", "web"},
		"exported to others only": {"shop", 2, with(func(s *drSpec) { s.ExportTo = []string{"other"} }), "web", "web"},
		// Rules with another exportTo are not merged. The youngest applies alone.
		"younger, without exportTo":        {"shop", 0, func(s *drSpec) { s.ExportTo = nil }, "", ""},
		"younger, exported to all":         {"shop", 0, with(func(s *drSpec) { s.ExportTo = []string{"*"} }), "foreign", "foreign"},
		"older, exported to all":           {"shop", 2, with(func(s *drSpec) { s.ExportTo = []string{"*"} }), "web", "web"},
		"younger, to this one and another": {"shop", 0, with(func(s *drSpec) { s.ExportTo = []string{"other", "."} }), "web", "web"},
		"older, to this one and another":   {"shop", 2, with(func(s *drSpec) { s.ExportTo = []string{".", "other"} }), "web", "web"},
		"younger, to this one by its name": {"shop", 0, with(func(s *drSpec) { s.ExportTo = []string{"shop"} }), "foreign", "foreign"},
	} {
		t.Run(name, func(t *testing.T) {
			got := meshpolicy.EffectiveDestination([]*networkingv1.DestinationRule{destinationRule("shop", "web", 1, whole), destinationRule(tc.namespace, "foreign", tc.age, tc.change)}, "shop", webHost)
			if got == nil {
				t.Fatal("no rule applies")
			}
			ruleName := func(r *networkingv1.DestinationRule) string {
				if r == nil {
					return ""
				}
				return r.Name
			}
			if ruleName(got.TrafficPolicy) != tc.policy || ruleName(got.Subsets["v1"]) != tc.subset {
				t.Errorf("traffic policy of %q and subset of %q, want %q and %q", ruleName(got.TrafficPolicy), ruleName(got.Subsets["v1"]), tc.policy, tc.subset)
			}
		})
	}
	if got := meshpolicy.EffectiveDestination(nil, "shop", webHost); got != nil {
		t.Errorf("without rules, %v applies", got)
	}
}

func TestReplacesMutualTLS(t *testing.T) {
	settings := func(mode networkingv1alpha3.ClientTLSSettings_TLSmode) *networkingv1alpha3.ClientTLSSettings {
		return &networkingv1alpha3.ClientTLSSettings{Mode: mode}
	}
	const disable, mutual = networkingv1alpha3.ClientTLSSettings_DISABLE, networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL
	port := func(number uint32, tls *networkingv1alpha3.ClientTLSSettings) []*networkingv1alpha3.TrafficPolicy_PortTrafficPolicy {
		return []*networkingv1alpha3.TrafficPolicy_PortTrafficPolicy{{Port: &networkingv1alpha3.PortSelector{Number: number}, Tls: tls}}
	}
	for name, tc := range map[string]struct {
		policy *networkingv1alpha3.TrafficPolicy
		want   bool
	}{
		"none":                     {nil, false},
		"mutual TLS of Istio":      {&networkingv1alpha3.TrafficPolicy{Tls: settings(mutual)}, false},
		"plaintext":                {&networkingv1alpha3.TrafficPolicy{Tls: settings(disable)}, true},
		"plaintext on the port":    {&networkingv1alpha3.TrafficPolicy{PortLevelSettings: port(80, settings(disable))}, true},
		"plaintext on another one": {&networkingv1alpha3.TrafficPolicy{PortLevelSettings: port(81, settings(disable))}, false},
		"the port replaces it all": {&networkingv1alpha3.TrafficPolicy{Tls: settings(disable), PortLevelSettings: port(80, nil)}, false},
	} {
		if got := meshpolicy.ReplacesMutualTLS(tc.policy, 80); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
