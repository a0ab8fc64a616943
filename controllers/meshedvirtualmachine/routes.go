// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshroutes"
)

// routing returns the DestinationRules and VirtualServices of the guest, in the order in
// which they are applied.
func (s *scope) routing() []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range s.children {
		if k := o.GroupVersionKind(); k == children.DestinationRuleKind || k == children.VirtualServiceKind {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// missingSubset returns a message if a route of the spec leads to a subset that the
// DestinationRule does not have, because no live pod has the version.
func (s *scope) missingSubset() string {
	rule := s.child(children.DestinationRuleKind)
	if rule == nil {
		return ""
	}
	var names []string
	subsets, _, _ := unstructured.NestedSlice(rule.Object, "spec", "subsets")
	for _, subset := range subsets {
		if m, ok := subset.(map[string]any); ok {
			names = append(names, fmt.Sprint(m["name"]))
		}
	}
	for _, d := range meshroutes.DestinationsOf(s.lead()) {
		if subset := d.Destination.GetSubset(); subset != "" && meshroutes.IsOwn(s.lead(), s.mvm.ServiceFQDN(s.clusterDomain), d.Destination.GetHost()) && !slices.Contains(names, subset) {
			return fmt.Sprintf("%s of MeshedVirtualMachine %s leads to subset %q, which no live pod of Service %s has, so its requests fail: the subsets are %s; correct subset, or start a guest with this version",
				d.Field, s.lead().Name, subset, s.mvm.ServiceName(), strings.Join(names, ", "))
		}
	}
	return ""
}
