// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// writeStatus computes the whole status from the scope.
func (s *scope) writeStatus() {
	st := &s.mvm.Status
	stated := s.conditions()
	st.ObservedGeneration = s.mvm.Generation
	st.Conditions = conditions.Merge(st.Conditions, s.mvm.Generation, stated...)
	nat, _ := conditions.Find(stated, v1alpha1.ConditionNATProgrammed)
	verified := nat.Status == metav1.ConditionTrue && len(s.guestPods) > 0
	switch {
	case s.invalid == nil || st.MTLS.DeclaredMode == "":
		st.MTLS = s.mtls(verified && s.invalid == nil && s.policyApplied())
	case len(s.guestPods) == 0 || !s.stillInEffect(nat):
		st.MTLS.EffectiveMode, st.MTLS.Source = v1alpha1.MTLSModeDisable, v1alpha1.MTLSSourcePolicy
	default:
		if mode := s.weakestByRules(st.MTLS.EffectiveMode); mode != st.MTLS.EffectiveMode {
			st.MTLS.EffectiveMode, st.MTLS.Source = mode, v1alpha1.MTLSSourcePolicy
		}
	}
	if s.invalid == nil {
		st.Ports = s.ports() // Otherwise the ports of the last accepted spec are in effect.
	}
	if s.podsKnown {
		st.Pods, st.OmittedPods = atMost(maxPodStatuses, s.podStatuses())
	}
	if s.serviceKnown {
		st.Service = s.sharedService()
	}
	if s.children != nil {
		st.RelatedObjects, st.OmittedRelatedObjects = atMost(maxRelatedObjects, s.relatedObjects())
		st.Addresses, _ = atMost(maxAddresses, s.addresses())
	}
}

// policyApplied reports whether the PeerAuthentication is applied. The other objects of
// Istio have no effect on mutual TLS.
func (s *scope) policyApplied() bool {
	key := apply.Key{Kind: children.PeerAuthenticationKind.GroupKind(), Name: s.mvm.Name}
	return s.policies != nil && s.children[key] != nil && s.failures[key] == nil
}

// stillInEffect reports, while the spec is not accepted, whether the policy and the
// rules of the last accepted spec are in effect. After they were lost, their mode
// is unknown until a spec is accepted.
func (s *scope) stillInEffect(nat conditions.Condition) bool {
	policy := apply.Key{Kind: children.PeerAuthenticationKind.GroupKind(), Name: s.mvm.Name}
	return s.podsKnown && s.policies != nil && nat.Status != metav1.ConditionFalse && s.children[policy] != nil
}

// mtls returns the declared mode and the weakest mode that is in effect,
// according to all PeerAuthentications that apply to the pods and to the proxies that
// were read. Without verified rules, nothing forces traffic through the proxy.
func (s *scope) mtls(proven bool) v1alpha1.MTLSStatus {
	spec := s.mvm.Spec.Mesh.MTLS
	out := v1alpha1.MTLSStatus{DeclaredMode: spec.ModeOrDefault(), EffectiveMode: v1alpha1.MTLSModeStrict}
	meshed := false
	for _, p := range s.mvm.Spec.Ports {
		if p.ViaOrDefault() == v1alpha1.PortViaDirect {
			out.BypassedPorts = append(out.BypassedPorts, p.Name)
			continue
		}
		meshed = true
		out.EffectiveMode = weaker(out.EffectiveMode, s.effectiveMode(p))
	}
	for _, r := range s.mvm.Spec.Capture.Inbound.ExcludePorts {
		out.BypassedPorts = append(out.BypassedPorts, r.String())
	}
	out.EffectiveMode, out.Source = s.withProxies(out.EffectiveMode)
	if !proven || !meshed {
		out.EffectiveMode, out.Source = v1alpha1.MTLSModeDisable, v1alpha1.MTLSSourcePolicy
	}
	slices.Sort(out.BypassedPorts)
	out.BypassedPorts = slices.Compact(out.BypassedPorts)
	return out
}

// ports returns the status of each port.
func (s *scope) ports() []v1alpha1.PortStatus {
	out := make([]v1alpha1.PortStatus, 0, len(s.mvm.Spec.Ports))
	for _, p := range s.mvm.Spec.Ports {
		out = append(out, v1alpha1.PortStatus{Name: p.Name, Via: p.ViaOrDefault()})
	}
	return out
}

// addresses returns the addresses of the Service, none if it does not exist or has
// another owner: the DNS name would lead to another workload.
func (s *scope) addresses() []v1alpha1.Address {
	service := s.child(children.ServiceKind)
	if service == nil || !s.hasOwner(service) {
		return nil
	}
	out := []v1alpha1.Address{{Type: v1alpha1.AddressTypeHostname, Value: s.mvm.ServiceFQDN(s.clusterDomain)}}
	ingress, _, _ := unstructured.NestedSlice(service.Object, "status", "loadBalancer", "ingress")
	for _, e := range ingress {
		point, _ := e.(map[string]any)
		if ip, _ := point["ip"].(string); ip != "" {
			out = append(out, v1alpha1.Address{Type: v1alpha1.AddressTypeIPAddress, Value: ip})
		}
		if name, _ := point["hostname"].(string); name != "" {
			out = append(out, v1alpha1.Address{Type: v1alpha1.AddressTypeHostname, Value: name})
		}
	}
	return out
}

// Limits of the lists in the status. The API server rejects a status with longer
// lists, and the previous status would remain. A user can create any number of pods
// with the labels and the owner reference of virt-launcher pods.
const (
	maxPodStatuses    = 32
	maxRelatedObjects = 128
	maxAddresses      = 16
)

// atMost returns the first elements of a list and the number of the others.
func atMost[T any](limit int, list []T) (first []T, omitted int32) {
	n := min(len(list), limit)
	return list[:n], int32(len(list) - n) //nolint:gosec // A number of objects in a namespace.
}

// podStatuses describes the pods, the oldest first.
func (s *scope) podStatuses() []v1alpha1.PodStatus {
	out := make([]v1alpha1.PodStatus, 0, len(s.guestPods))
	for _, g := range s.guestPods {
		status := v1alpha1.PodStatus{UID: g.UID, Name: g.Name, Node: g.Spec.NodeName, Role: g.role, Start: g.start, Programmed: g.programmed()}
		if g.nat != nil {
			status.Digest = g.nat.Status.Applied.Digest
		}
		out = append(out, status)
	}
	return out
}

func (s *scope) relatedObjects() []v1alpha1.RelatedObject {
	out := make([]v1alpha1.RelatedObject, 0, len(s.children))
	for _, o := range s.children {
		if !s.hasOwner(o) && !s.keeps(o) {
			continue
		}
		key := apply.KeyOf(o)
		out = append(out, v1alpha1.RelatedObject{APIVersion: o.GetAPIVersion(), Kind: key.Kind.Kind, Name: key.Name, UID: o.GetUID()})
	}
	slices.SortFunc(out, func(a, b v1alpha1.RelatedObject) int {
		return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name)
	})
	return out
}
