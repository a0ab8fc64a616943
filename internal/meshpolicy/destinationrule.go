// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"maps"
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Destination is the combination of DestinationRules that is in effect for a host.
// For each part, it names the DestinationRule from which Istio takes it.
type Destination struct {
	// TrafficPolicy is the rule whose traffic policy applies, nil for none.
	TrafficPolicy *networkingv1.DestinationRule
	// Subsets are the rules that define the subsets, by name of the subset.
	Subsets map[string]*networkingv1.DestinationRule
	// First is the oldest rule of the combination.
	First *networkingv1.DestinationRule

	exportTo []string
}

// EffectiveDestination merges the DestinationRules for a host for clients in the
// namespace, which is also the namespace of the Service. It returns nil if none
// applies. It follows Istio (pilot/pkg/model, mergeDestinationRule,
// PushContext.destinationRule and SidecarScope.DestinationRule): rules of the
// client's namespace for exactly this host have precedence over all others. Rules
// are merged, oldest first, only if the younger rule is exported to the same
// namespaces, or to more. Of several merged rules, the last applies.
//
// Rules with a workload selector, which apply only to some clients, do not count.
func EffectiveDestination(rules []*networkingv1.DestinationRule, namespace, fqdn string) *Destination {
	var all []*Destination
	for _, r := range byAge(rules) {
		if r.Namespace != namespace || !SameHost(r.Spec.GetHost(), fqdn) || r.Spec.GetWorkloadSelector() != nil {
			continue
		}
		exportTo := set(r.Spec.GetExportTo())
		if !Visible(exportTo, namespace) {
			continue
		}
		separate := true
		for _, d := range all {
			separate = !d.takes(exportTo)
			if !separate {
				d.merge(r)
			}
		}
		if separate {
			d := &Destination{Subsets: map[string]*networkingv1.DestinationRule{}, First: r, exportTo: exportTo}
			d.merge(r)
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// takes reports whether Istio merges a younger rule with this exportTo.
func (d *Destination) takes(exportTo []string) bool {
	if slices.Equal(d.exportTo, exportTo) {
		return true
	}
	return len(d.exportTo) > 0 && !slices.ContainsFunc(d.exportTo, func(e string) bool { return !slices.Contains(exportTo, e) })
}

func (d *Destination) merge(r *networkingv1.DestinationRule) {
	for _, s := range r.Spec.GetSubsets() {
		if d.Subsets[s.GetName()] == nil {
			d.Subsets[s.GetName()] = r
		}
	}
	if d.TrafficPolicy == nil && r.Spec.GetTrafficPolicy() != nil {
		d.TrafficPolicy = r
	}
}

// SameSubset reports whether a rule defines the subset with exactly the labels
// and without a traffic policy.
func SameSubset(r *networkingv1.DestinationRule, name string, labels map[string]string) bool {
	for _, s := range r.Spec.GetSubsets() {
		if s.GetName() == name {
			return s.GetTrafficPolicy() == nil && maps.Equal(s.GetLabels(), labels)
		}
	}
	return false
}

// ReplacesMutualTLS reports whether a traffic policy makes clients use other than
// Istio's mutual TLS on a port of the Service.
func ReplacesMutualTLS(policy *networkingv1alpha3.TrafficPolicy, port int32) bool {
	replaces := func(t *networkingv1alpha3.ClientTLSSettings) bool {
		return t != nil && t.GetMode() != networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL
	}
	for _, s := range policy.GetPortLevelSettings() {
		if s.GetPort().GetNumber() == v1alpha1.IstioPort(port) {
			return replaces(s.GetTls())
		}
	}
	return replaces(policy.GetTls())
}

// set returns the distinct elements in order.
func set(s []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(s)))
}
