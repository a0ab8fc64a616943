// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

func older(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(builders.Epoch.Add(-time.Hour))}
}

// withIstio gives the world the operator's own VirtualService and DestinationRule, and
// a sidecar to the pod.
func withIstio(mods ...func(*scope)) *scope {
	return world(append([]func(*scope){func(s *scope) {
		s.pods[0].Spec.Containers = append(s.pods[0].Spec.Containers, corev1.Container{Name: "istio-proxy"})
		objects, err := children.Desired(children.Input{MVM: s.mvm, LauncherPods: s.pods})
		if err != nil {
			panic(err)
		}
		for _, o := range objects {
			o.SetCreationTimestamp(builders.Epoch)
			switch o := o.(type) {
			case *networkingv1.VirtualService:
				s.routes = append(s.routes, o)
			case *networkingv1.DestinationRule:
				s.rules = append(s.rules, o)
			case *telemetryv1.Telemetry:
				s.telemetries = append(s.telemetries, o)
			case *securityv1.AuthorizationPolicy:
				s.authorization = append(s.authorization, o)
			}
		}
	}}, mods...)...)
}

func TestOtherIstioObjects(t *testing.T) {
	authz := func(namespace string, action securityv1beta1.AuthorizationPolicy_Action, rules ...*securityv1beta1.Rule) func(*scope) {
		return func(s *scope) {
			p := &securityv1.AuthorizationPolicy{ObjectMeta: older(namespace, "other")}
			p.Spec.Action, p.Spec.Rules = action, rules
			s.rootNamespace = "istio-system"
			s.authorization = append(s.authorization, p)
		}
	}
	route := func(change func(*networkingv1.VirtualService)) func(*scope) {
		return func(s *scope) {
			vs := &networkingv1.VirtualService{ObjectMeta: older(builders.DefaultNamespace, "other")}
			vs.Spec.Hosts, vs.Spec.ExportTo = []string{"web"}, []string{"."}
			vs.Spec.Http = []*networkingv1alpha3.HTTPRoute{{}}
			change(vs)
			s.routes = append(s.routes, vs)
		}
	}
	rule := func(change func(*networkingv1.DestinationRule)) func(*scope) {
		return func(s *scope) {
			dr := &networkingv1.DestinationRule{ObjectMeta: older(builders.DefaultNamespace, "other")}
			dr.Spec.Host = "web"
			change(dr)
			s.rules = append(s.rules, dr)
		}
	}
	noVS := func(*networkingv1.VirtualService) {}
	noDR := func(*networkingv1.DestinationRule) {}
	younger := func(o metav1.Object) { o.SetCreationTimestamp(metav1.NewTime(builders.Epoch.Add(time.Hour))) }
	tls := func(mode networkingv1alpha3.ClientTLSSettings_TLSmode) func(*networkingv1.DestinationRule) {
		return func(d *networkingv1.DestinationRule) {
			d.Spec.TrafficPolicy = &networkingv1alpha3.TrafficPolicy{Tls: &networkingv1alpha3.ClientTLSSettings{Mode: mode}}
		}
	}
	everything := &securityv1beta1.Rule{}
	ssh := &securityv1beta1.Rule{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: []string{"22"}}}}}
	const shop, root = builders.DefaultNamespace, "istio-system"
	for name, tc := range map[string]struct {
		scope   *scope
		status  metav1.ConditionStatus
		reason  v1alpha1.ConditionReason
		message string
	}{
		"only the operator's": {withIstio(func(s *scope) { s.rootNamespace = root }), metav1.ConditionTrue, v1alpha1.ReasonEffective, "no PeerAuthentication or AuthorizationPolicy of this namespace or of Istio's root namespace istio-system (mesh.rootNamespace), and"},
		"DENY by the root":    {withIstio(authz(root, securityv1beta1.AuthorizationPolicy_DENY, everything)), metav1.ConditionFalse, v1alpha1.ReasonPortsDenied, "istio-system/other denies every connection to port \"http\" (8080 in the guest)"},
		"ALLOW nothing by the root": {
			withIstio(authz(root, securityv1beta1.AuthorizationPolicy_ALLOW)),
			metav1.ConditionFalse, v1alpha1.ReasonPortsDenied, "create an AuthorizationPolicy in namespace shop",
		},
		"DENY by the own namespace": {withIstio(authz(shop, securityv1beta1.AuthorizationPolicy_DENY, everything)), metav1.ConditionTrue, v1alpha1.ReasonPortsDenied, "shop/other denies"},
		"ALLOW other ports by the own namespace": {
			withIstio(authz(shop, securityv1beta1.AuthorizationPolicy_ALLOW, ssh)),
			metav1.ConditionTrue, v1alpha1.ReasonPortsDenied, "(shop/other)",
		},
		"the operator's, for one of two ports": {
			allowing("http"), metav1.ConditionTrue, v1alpha1.ReasonEffective, "; spec.mesh allows no client to connect to port \"db\"",
		},
		"the operator's, for all ports": {allowing(), metav1.ConditionTrue, v1alpha1.ReasonEffective, "mutual TLS modes, routes and traffic policy"},
		"the operator's, and DENY by the root": {
			with(allowing("http"), authz(root, securityv1beta1.AuthorizationPolicy_DENY, everything)),
			metav1.ConditionFalse, v1alpha1.ReasonPortsDenied, "istio-system/other denies",
		},
		"the operator's, and ALLOW by another client": {
			with(allowing("http"), authz(shop, securityv1beta1.AuthorizationPolicy_ALLOW, everything)),
			metav1.ConditionTrue, v1alpha1.ReasonEffective, "; AuthorizationPolicies that the operator did not create can allow other clients to connect to port \"http\": shop/other",
		},
		"the operator's, and ALLOW nothing by another client": {
			with(allowing("http"), authz(shop, securityv1beta1.AuthorizationPolicy_ALLOW)),
			metav1.ConditionTrue, v1alpha1.ReasonPortsDenied, "(shop/other, shop/web)",
		},
		"DENY a port that bypasses the proxy": {withIstio(authz(root, securityv1beta1.AuthorizationPolicy_DENY, ssh)), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"CUSTOM":                              {withIstio(authz(shop, securityv1beta1.AuthorizationPolicy_CUSTOM, everything)), metav1.ConditionTrue, v1alpha1.ReasonEffective, "an external authorizer decides: AuthorizationPolicy shop/other"},
		"an older route":                      {withIstio(route(noVS)), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "VirtualService shop/other has precedence"},
		"a younger route":                     {withIstio(route(func(v *networkingv1.VirtualService) { younger(v); v.Spec.ExportTo = nil })), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"a younger private route":             {withIstio(route(func(v *networkingv1.VirtualService) { younger(v) })), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "has precedence over the operator's, depending on Istio's defaultVirtualServiceExportTo, and"},
		"a younger private route before a public one": {
			withIstio(func(s *scope) {
				s.mvm.Spec.Mesh.ExportTo = []string{"*"}
				s.routes[0].Spec.ExportTo = []string{"*"}
			}, route(func(v *networkingv1.VirtualService) { younger(v) })),
			metav1.ConditionFalse, v1alpha1.ReasonShadowed, "VirtualService shop/other has precedence",
		},
		"objects that are not for this namespace": {
			withIstio(func(s *scope) {
				s.mvm.Spec.Mesh.ExportTo = []string{"ingress"}
				s.routes[0].Spec.ExportTo, s.rules[0].Spec.ExportTo = []string{"ingress"}, []string{"ingress"}
			}, route(noVS), rule(tls(networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL))),
			metav1.ConditionTrue, v1alpha1.ReasonEffective, "",
		},
		"a rule for a headless Service, which has no subset": {
			withIstio(func(s *scope) {
				s.mvm.Spec.Service.Type = v1alpha1.ServiceTypeHeadless
				s.rules[0].Spec.Subsets = nil
			}, rule(noDR)), metav1.ConditionTrue, v1alpha1.ReasonEffective, "",
		},
		"an older route without our own": {withIstio(route(noVS), func(s *scope) {
			delete(s.children, key(children.VirtualServiceKind))
		}), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"an older rule without content": {withIstio(rule(noDR)), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"a younger rule that is not merged": {
			withIstio(rule(func(d *networkingv1.DestinationRule) { d.Spec.ExportTo = []string{"."}; younger(d) })),
			metav1.ConditionFalse, v1alpha1.ReasonShadowed, "does not define subset \"v1\"",
		},
		"the same subset": {withIstio(rule(func(d *networkingv1.DestinationRule) {
			d.Spec.Subsets = []*networkingv1alpha3.Subset{{Name: "v1", Labels: map[string]string{v1alpha1.LabelVersion: "v1"}}}
		})), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"the same subset of the running version": {withIstio(func(s *scope) { s.mvm.Spec.Version = "v2" }, rule(func(d *networkingv1.DestinationRule) {
			d.Spec.Subsets = []*networkingv1alpha3.Subset{{Name: "v2", Labels: map[string]string{"app": "other"}}}
		})), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"another subset of this name": {withIstio(rule(func(d *networkingv1.DestinationRule) {
			d.Spec.Subsets = []*networkingv1alpha3.Subset{{Name: "v1", Labels: map[string]string{"app": "other"}}}
		})), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "its subset \"v1\" applies"},
		"a newer Telemetry":       {logged(younger), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "Telemetry shop/other selects pod virt-launcher-web-abcde and is newer than the operator's, so Istio applies its accessLogging after spec.mesh.telemetry.accessLogging: delete it"},
		"an older Telemetry":      {logged(func(metav1.Object) {}), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"plaintext":               {withIstio(rule(tls(networkingv1alpha3.ClientTLSSettings_DISABLE))), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "replace Istio's mutual TLS on port \"http\""},
		"mutual TLS of Istio":     {withIstio(rule(tls(networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL))), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"an older traffic policy": {withPolicy(rule(tls(networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL))), metav1.ConditionFalse, v1alpha1.ReasonShadowed, "spec.mesh.trafficPolicy does not apply"},
		"a younger traffic policy": {withPolicy(rule(func(d *networkingv1.DestinationRule) {
			tls(networkingv1alpha3.ClientTLSSettings_DISABLE)(d)
			younger(d)
		})), metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
	} {
		t.Run(name, func(t *testing.T) {
			all := tc.scope.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("condition %+v, want %s, %s and a message with %q", c, tc.status, tc.reason, tc.message)
			}
			ready, _ := conditions.Find(all, v1alpha1.ConditionReady)
			_, stalled := conditions.Find(all, v1alpha1.ConditionStalled)
			if ready.Status != tc.status || stalled == (tc.status == metav1.ConditionTrue) {
				t.Errorf("Ready is %s and Stalled is present: %t", ready.Status, stalled)
			}
		})
	}
}

// logged is withIstio for a spec with an access log, and with another Telemetry that
// configures one.
func logged(change func(metav1.Object)) *scope {
	set := func(s *scope) {
		s.mvm.Spec.Mesh.Telemetry.AccessLogging = v1alpha1.AccessLogging{{}}
		for _, name := range []string{s.mvm.Name, "other"} {
			t := &telemetryv1.Telemetry{ObjectMeta: older(builders.DefaultNamespace, name)}
			t.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}}
			t.Spec.AccessLogging = []*telemetryv1alpha1.AccessLogging{{}}
			if name == "other" {
				change(t)
			} else {
				t.SetCreationTimestamp(builders.Epoch)
			}
			s.telemetries = append(s.telemetries, t)
		}
	}
	return withIstio(set)
}

// withPolicy is withIstio for a spec with a traffic policy.
func withPolicy(mods ...func(*scope)) *scope {
	set := func(s *scope) {
		policy := &networkingv1alpha3.TrafficPolicy{ConnectionPool: &networkingv1alpha3.ConnectionPoolSettings{}}
		s.mvm.Spec.Mesh.TrafficPolicy = policy
		s.rules[0].Spec.TrafficPolicy = policy
	}
	return withIstio(append([]func(*scope){set}, mods...)...)
}

// allowing is withIstio for a guest with the ports http and db and a spec that permits
// clients to connect to the ports with the names, or to all ports.
func allowing(ports ...string) *scope {
	return withIstio(func(s *scope) {
		s.authorization, s.rootNamespace = nil, "istio-system"
		s.mvm.Spec.Ports = append(s.mvm.Spec.Ports, builders.TCP("db", 5432))
		s.mvm.Spec.Mesh.Allow = []v1alpha1.AllowedClient{{Namespace: "frontend", Ports: ports}}
		objects, err := children.Desired(children.Input{MVM: s.mvm})
		if err != nil {
			panic(err)
		}
		for _, o := range objects {
			if p, ok := o.(*securityv1.AuthorizationPolicy); ok {
				p.SetCreationTimestamp(builders.Epoch)
				s.authorization = append(s.authorization, p)
			}
		}
	})
}

// with changes a scope.
func with(s *scope, change func(*scope)) *scope {
	change(s)
	return s
}

// TestEvaluatedWithoutPods: policies are evaluated for pods, so without a pod the
// condition makes no statement about them.
func TestEvaluatedWithoutPods(t *testing.T) {
	for pods, want := range map[bool]string{
		true:  "no PeerAuthentication or AuthorizationPolicy of this namespace",
		false: "PeerAuthentications and AuthorizationPolicies are not checked because no virt-launcher pod exists",
	} {
		s := withIstio()
		if !pods {
			s.pods, s.guestPods = nil, nil
		}
		if c := s.meshPolicyEffective(); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, want) {
			t.Errorf("pods %t: condition %+v, want a message with %q", pods, c, want)
		}
	}
}

// TestPolicyThatTheDataPlaneIgnores checks a policy of a spec that requests a sidecar,
// while the pod runs in ambient mode until the next start.
func TestPolicyThatTheDataPlaneIgnores(t *testing.T) {
	entry := func(action v1alpha1.AuthorizationAction, o *securityv1beta1.Operation) v1alpha1.MeshSpec {
		return v1alpha1.MeshSpec{Authorization: []v1alpha1.Authorization{
			{Name: "a", Action: action, Rules: v1alpha1.AuthorizationRules{{To: []*securityv1beta1.Rule_To{{Operation: o}}}}},
		}}
	}
	port, method := &securityv1beta1.Operation{Ports: []string{"8080"}}, &securityv1beta1.Operation{Methods: []string{"GET"}}
	for name, tc := range map[string]struct {
		mesh v1alpha1.MeshSpec
		want metav1.ConditionStatus
	}{
		"CUSTOM":        {entry(v1alpha1.AuthorizationActionCustom, port), metav1.ConditionFalse},
		"AUDIT":         {entry(v1alpha1.AuthorizationActionAudit, port), metav1.ConditionFalse},
		"DENY a method": {entry(v1alpha1.AuthorizationActionDeny, method), metav1.ConditionFalse},
		"tokens":        {v1alpha1.MeshSpec{Authentication: v1alpha1.AuthenticationSpec{Mode: v1alpha1.AuthenticationModeRequired}}, metav1.ConditionFalse},
		"ALLOW a port":  {entry(v1alpha1.AuthorizationActionAllow, port), metav1.ConditionTrue},
	} {
		t.Run(name, func(t *testing.T) {
			s := withIstio(func(s *scope) {
				s.pods[0].Spec.Containers, s.pods[0].Spec.InitContainers = nil, nil
				s.pods[0].Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
				s.mvm.Spec.Mesh.Authorization, s.mvm.Spec.Mesh.Authentication = tc.mesh.Authorization, tc.mesh.Authentication
			})
			all := s.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.want || (c.Reason == v1alpha1.ReasonOutOfDate) == (tc.want == metav1.ConditionTrue) {
				t.Errorf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
			}
			if ready, _ := conditions.Find(all, v1alpha1.ConditionReady); tc.want == metav1.ConditionFalse && ready.Status != metav1.ConditionFalse {
				t.Errorf("Ready is %s", ready.Status)
			}
		})
	}
}

// TestLimitsThatTheDataPlaneIgnores checks limits of a spec that requests a sidecar, while
// the pod runs in ambient mode until the next start.
func TestLimitsThatTheDataPlaneIgnores(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.MeshedVirtualMachineSpec){
		"connections": func(s *v1alpha1.MeshedVirtualMachineSpec) { s.Ports[0].MaxConnections = 1 },
		"requests": func(s *v1alpha1.MeshedVirtualMachineSpec) {
			s.Ports[0].RateLimit = v1alpha1.RateLimit{Requests: 1, Per: v1alpha1.RateLimitPeriodHour}
		},
		"telemetry": func(s *v1alpha1.MeshedVirtualMachineSpec) {
			s.Mesh.Telemetry.Metrics = v1alpha1.Metrics{{}}
		},
		"destinations": func(s *v1alpha1.MeshedVirtualMachineSpec) { s.Mesh.Egress.Outbound = v1alpha1.OutboundModeRegistryOnly },
	} {
		t.Run(name, func(t *testing.T) {
			s := withIstio(func(s *scope) {
				s.pods[0].Spec.Containers, s.pods[0].Spec.InitContainers = nil, nil
				s.pods[0].Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
				change(&s.mvm.Spec)
			})
			c, _ := conditions.Find(s.conditions(), v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonOutOfDate {
				t.Errorf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
			}
		})
	}
}
