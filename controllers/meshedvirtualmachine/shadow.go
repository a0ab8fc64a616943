// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// effectiveForClients reports whether clients in the namespace of the guest can use
// its ports by the declared routes and traffic policy. Ports that only policies of this
// namespace close are possibly closed on purpose, so they leave the condition True.
func (s *scope) effectiveForClients() conditions.Condition {
	const t = v1alpha1.ConditionMeshPolicyEffective
	if message := s.notByDataPlane(); message != "" {
		return conditions.False(t, v1alpha1.ReasonOutOfDate, message)
	}
	waypoint, waypointMessage := s.waypointBound()
	if waypoint == metav1.ConditionFalse {
		return conditions.False(t, v1alpha1.ReasonWaypointNotReady, waypointMessage)
	}
	byRoot, byOwn, bySpec := s.closedPorts()
	if byRoot != "" {
		return conditions.False(t, v1alpha1.ReasonPortsDenied, byRoot)
	}
	if message := cmp.Or(s.shadowedRoute(), s.shadowedRule(), s.shadowedTelemetry(), s.shadowedSidecar(), s.otherEndpoints()); message != "" {
		return conditions.False(t, v1alpha1.ReasonShadowed, message)
	}
	if message := s.missingSubset(); message != "" {
		return conditions.False(t, v1alpha1.ReasonSubsetMissing, message)
	}
	if reason, message := s.gatewayProblem(); message != "" {
		return conditions.False(t, reason, message)
	}
	if s.unread != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, s.unread.unreadMessage())
	}
	if waypoint == metav1.ConditionUnknown {
		return conditions.Unknown(t, v1alpha1.ReasonPending, waypointMessage)
	}
	if byOwn != "" {
		return conditions.True(t, v1alpha1.ReasonPortsDenied, byOwn)
	}
	return conditions.True(t, v1alpha1.ReasonEffective, s.evaluated()+bySpec+s.widened()+s.undecided())
}

// evaluated names the objects that the condition evaluates, and the root namespace from
// which it reads the policies of the mesh.
func (s *scope) evaluated() string {
	if len(s.pods) == 0 {
		return "no VirtualService or DestinationRule of this namespace overrides the declared routes and traffic policy; PeerAuthentications and AuthorizationPolicies are not checked because no virt-launcher pod exists"
	}
	message := fmt.Sprintf("no PeerAuthentication or AuthorizationPolicy of this namespace or of Istio's root namespace %s (mesh.rootNamespace), and no VirtualService or DestinationRule of this namespace, overrides the declared mutual TLS modes, routes and traffic policy",
		s.rootNamespace)
	if s.rootUnconfirmed {
		message += fmt.Sprintf("; namespace %s contains no Service of istiod (label app=istiod): if it is not Istio's root namespace, set mesh.rootNamespace in the OperatorConfiguration", s.rootNamespace)
	}
	return message
}

// closedPorts returns messages for a port that AuthorizationPolicies close: one if a
// policy of Istio's root namespace is among them, one if all are policies of the
// guest's own namespace, and one if all are the operator's, as the spec declares.
func (s *scope) closedPorts() (byRoot, byOwn, bySpec string) {
	for i := range s.pods {
		pod := &s.pods[i]
		for _, p := range s.mvm.Spec.Ports {
			e, enforced := enforcement(pod, p)
			if !enforced {
				continue
			}
			closed := meshpolicy.ClosedPort(s.authorization, s.mvm.Namespace, pod.Labels, p.TargetPortOrDefault(), e)
			switch {
			case closed == nil:
			case !slices.ContainsFunc(closed.Policies, s.isForeign):
				bySpec = cmp.Or(bySpec, fmt.Sprintf("; spec.mesh allows no client to connect to port %q", p.Name))
			case closed.Own:
				byOwn = cmp.Or(byOwn, closedMessage(s.mvm, closed, pod.Name, p))
			default:
				byRoot = cmp.Or(byRoot, closedMessage(s.mvm, closed, pod.Name, p))
			}
		}
	}
	return byRoot, byOwn, bySpec
}

// notByDataPlane returns a message if the data plane of a pod does not enforce a policy
// of the spec: the spec requests a sidecar, and the running pod is in ambient mode.
func (s *scope) notByDataPlane() string {
	for i := range s.pods {
		if launcherpod.DataPlane(&s.pods[i]) != v1alpha1.DataPlaneAmbient {
			continue
		}
		waypoint := s.mvm.Spec.Mesh.Waypoint.IsSet()
		if s.mvm.Spec.Mesh.Authentication.IsSet() && !waypoint {
			return fmt.Sprintf("pod %s runs in ambient mode until the next start, and ztunnel does not check tokens (spec.mesh.authentication): restart the guest, or remove the field", s.pods[i].Name)
		}
		for _, a := range s.mvm.Spec.Mesh.Authorization {
			supported := a.Action == v1alpha1.AuthorizationActionAllow || a.Action == v1alpha1.AuthorizationActionDeny
			if !waypoint && (!supported || slices.ContainsFunc(a.Rules, meshpolicy.UnsupportedByZtunnel)) {
				return fmt.Sprintf("pod %s runs in ambient mode until the next start, and ztunnel does not enforce entry %q of spec.mesh.authorization as specified: restart the guest, or remove the entry", s.pods[i].Name, a.Name)
			}
		}
		if s.mvm.Spec.Mesh.Egress.IsSet() {
			return fmt.Sprintf("pod %s runs in ambient mode until the next start, and ztunnel does not enforce spec.mesh.egress: restart the guest, or remove the field", s.pods[i].Name)
		}
		if s.mvm.Spec.Mesh.Telemetry.IsSet() {
			return fmt.Sprintf("pod %s runs in ambient mode until the next start, and ztunnel does not read Telemetry objects (spec.mesh.telemetry): restart the guest, or remove the field", s.pods[i].Name)
		}
		for _, p := range s.mvm.Spec.Ports {
			if p.MaxConnections > 0 || p.RateLimit.IsSet() {
				return fmt.Sprintf("pod %s runs in ambient mode until the next start, and ztunnel does not enforce maxConnections and rateLimit of port %q: restart the guest, or remove the limits", s.pods[i].Name, p.Name)
			}
		}
	}
	return ""
}

// isForeign reports whether an AuthorizationPolicy is not the operator's.
func (s *scope) isForeign(p *securityv1.AuthorizationPolicy) bool {
	return p.Namespace != s.mvm.Namespace || !metav1.IsControlledBy(p, s.mvm)
}

// widened names the policies of other clients that permit connections to a port in
// addition to the spec.
func (s *scope) widened() string {
	if !s.mvm.Spec.RestrictsClients() {
		return ""
	}
	for i := range s.pods {
		for _, p := range s.mvm.Spec.Ports {
			e, enforced := enforcement(&s.pods[i], p)
			if !enforced {
				continue
			}
			permitting := meshpolicy.Permitting(s.authorization, s.pods[i].Labels, p.TargetPortOrDefault(), e)
			if foreign := slices.DeleteFunc(permitting, func(p *securityv1.AuthorizationPolicy) bool { return !s.isForeign(p) }); len(foreign) > 0 {
				return fmt.Sprintf("; AuthorizationPolicies that the operator did not create can allow other clients to connect to port %q: %s; delete them or restrict their rules if this is not intended", p.Name, namesOf(foreign))
			}
		}
	}
	return ""
}

// enforcement returns how the proxy of a pod enforces AuthorizationPolicies on a port,
// and whether it does.
func enforcement(pod *corev1.Pod, p v1alpha1.Port) (meshpolicy.Enforcement, bool) {
	if !p.IsMeshed() {
		return 0, false
	}
	switch {
	case launcherpod.DataPlane(pod) == v1alpha1.DataPlaneAmbient:
		return meshpolicy.Ztunnel, launcherpod.AmbientEnrolled(pod)
	case p.IsMeshedHTTP():
		return meshpolicy.SidecarHTTP, launcherpod.HasSidecar(pod)
	default:
		return meshpolicy.SidecarTCP, launcherpod.HasSidecar(pod)
	}
}

func closedMessage(mvm *v1alpha1.MeshedVirtualMachine, closed *meshpolicy.Closed, pod string, p v1alpha1.Port) string {
	names := namesOf(closed.Policies)
	if closed.Deny {
		return fmt.Sprintf("AuthorizationPolicy %s denies every connection to port %q (%d in the guest) of pod %s: delete it, or change its selector or its rules so that it does not match the port",
			names, p.Name, p.TargetPortOrDefault(), pod)
	}
	return fmt.Sprintf("no rule of the AuthorizationPolicies with action ALLOW that select pod %s (%s) can match port %q (%d in the guest), so every connection to it is denied: create an AuthorizationPolicy in namespace %s that allows the port, or change their selectors",
		pod, names, p.Name, p.TargetPortOrDefault(), mvm.Namespace)
}

// undecided names the policies whose effect depends on an external authorizer.
func (s *scope) undecided() string {
	for i := range s.pods {
		if !launcherpod.HasSidecar(&s.pods[i]) {
			continue
		}
		if found := meshpolicy.Undecided(s.authorization, s.pods[i].Labels); len(found) > 0 {
			return "; not checked because an external authorizer decides: AuthorizationPolicy " + namesOf(found)
		}
	}
	return ""
}

// shadowedRoute returns a message if another VirtualService routes clients of the
// namespace to a port of the guest.
func (s *scope) shadowedRoute() string {
	i := slices.IndexFunc(s.routes, func(vs *networkingv1.VirtualService) bool { return s.isChild(vs) })
	if s.child(children.VirtualServiceKind) == nil || i < 0 {
		return ""
	}
	fqdn, lead := s.mvm.ServiceFQDN(s.clusterDomain), s.lead()
	for _, p := range lead.Spec.Ports {
		if !lead.Spec.HasRoute(p) && (!p.IsMeshedTLS() || len(s.routes[i].Spec.GetTls()) == 0) {
			continue
		}
		if vs := meshpolicy.RouteBefore(s.routes[i], s.routes, fqdn, p); vs != nil {
			precedence := "has precedence over the operator's"
			if len(vs.Spec.GetExportTo()) == 0 || len(lead.Spec.Mesh.ExportTo) == 0 {
				precedence += ", depending on Istio's defaultVirtualServiceExportTo,"
			}
			return fmt.Sprintf("VirtualService %s/%s %s and has a route for port %q of host %s, so Istio applies it to clients in this namespace instead of the route of the spec: delete it, or remove the host or the port from it",
				vs.Namespace, vs.Name, precedence, p.Name, fqdn)
		}
	}
	return ""
}

// shadowedRule returns a message if another DestinationRule changes the traffic policy
// or a subset that the operator declares for clients of the namespace.
func (s *scope) shadowedRule() string {
	lead := s.lead()
	if s.child(children.DestinationRuleKind) == nil || !meshpolicy.Visible(lead.Spec.Mesh.ExportTo, s.mvm.Namespace) {
		return ""
	}
	fqdn := s.mvm.ServiceFQDN(s.clusterDomain)
	d := meshpolicy.EffectiveDestination(s.rules, s.mvm.Namespace, fqdn)
	if d == nil {
		return ""
	}
	const wayOut = "delete it, or remove the host from it"
	message := func(r *networkingv1.DestinationRule, effect string) string {
		return fmt.Sprintf("DestinationRule %s/%s for host %s has precedence over the operator's for clients in this namespace: %s; %s", r.Namespace, r.Name, fqdn, effect, wayOut)
	}
	if s.child(children.VirtualServiceKind) != nil {
		for _, version := range children.Routed(s.state()) {
			switch subset := d.Subsets[version]; {
			case subset == nil:
				return message(d.First, fmt.Sprintf("its exportTo differs, so that Istio does not merge it, and it does not define subset %q, so requests fail", version))
			case !s.isChild(subset) && !meshpolicy.SameSubset(subset, version, map[string]string{v1alpha1.LabelVersion: version}):
				return message(subset, fmt.Sprintf("its subset %q applies instead of the operator's", version))
			}
		}
	}
	applied := d.TrafficPolicy
	if lead.Spec.Mesh.TrafficPolicy != nil && (applied == nil || !s.isChild(applied)) {
		return message(cmp.Or(applied, d.First), "spec.mesh.trafficPolicy does not apply")
	}
	if applied == nil || s.isChild(applied) {
		return ""
	}
	for _, p := range lead.Spec.Ports {
		if p.IsMeshed() && meshpolicy.ReplacesMutualTLS(applied.Spec.GetTrafficPolicy(), p.Port) {
			return message(applied, fmt.Sprintf("its TLS settings replace Istio's mutual TLS on port %q", p.Name))
		}
	}
	return ""
}

// maxNames is the number of objects that a message names.
const maxNames = 3

func namesOf[T metav1.Object](objects []T) string {
	return conditions.Enumerate(objects, maxNames, ", ", func(o T) string { return o.GetNamespace() + "/" + o.GetName() })
}
