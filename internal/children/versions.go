// SPDX-License-Identifier: Apache-2.0

package children

import (
	"encoding/json"
	"fmt"
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Versions are the mesh subsets of a guest.
type Versions struct {
	// Subsets are the subsets of the DestinationRule, sorted. At least one exists.
	Subsets []string
	// Routed is the subset that the routes select. It is empty if the routes select
	// all pods of the Service, because no single subset contains all live pods.
	Routed string
}

// VersionsOf returns the subsets of the live pods of a guest. A pod has the version with
// which it was started, so a changed spec.version takes effect at the next start. Without
// a live pod, it is the version of the spec. A label that another client removed, or
// changed to a value that is not a valid name of a subset (Istio,
// pkg/config/validation, validateSubsetName), makes the pod a member of no subset.
func VersionsOf(mvm *v1alpha1.MeshedVirtualMachine, pods []corev1.Pod) Versions {
	var v Versions
	unnamed := false
	for i := range pods {
		version := pods[i].Labels[v1alpha1.LabelVersion]
		if len(validation.IsDNS1123Label(version)) > 0 {
			unnamed = true
			continue
		}
		v.Subsets = append(v.Subsets, version)
	}
	slices.Sort(v.Subsets)
	v.Subsets = slices.Compact(v.Subsets)
	if len(v.Subsets) == 0 {
		v.Subsets = []string{mvm.Spec.VersionOrDefault()}
	}
	if len(v.Subsets) == 1 && !unnamed {
		v.Routed = v.Subsets[0]
	}
	return v
}

func subsets(v Versions) []*networkingv1alpha3.Subset {
	out := make([]*networkingv1alpha3.Subset, 0, len(v.Subsets))
	for _, version := range v.Subsets {
		out = append(out, &networkingv1alpha3.Subset{Name: version, Labels: map[string]string{v1alpha1.LabelVersion: version}})
	}
	return out
}

// FollowVersions returns a DestinationRule or VirtualService of the last accepted spec
// with the subsets of the live pods, or nil if the live object has them. While the spec
// is not accepted, the guest can restart with another version, which the routes of the
// last accepted spec do not select yet.
func FollowVersions(in Input, live *unstructured.Unstructured) (Object, error) {
	if len(in.LauncherPods) == 0 || in.MVM.Spec.IsHeadless() {
		return nil, nil
	}
	v := VersionsOf(in.MVM, in.LauncherPods)
	switch live.GroupVersionKind() {
	case DestinationRuleKind:
		dr := &networkingv1.DestinationRule{}
		if err := decode(live, dr); err != nil {
			return nil, err
		}
		wanted := subsets(v)
		if slices.EqualFunc(dr.Spec.Subsets, wanted, func(a, b *networkingv1alpha3.Subset) bool { return a.GetName() == b.GetName() }) {
			return nil, nil
		}
		dr.ObjectMeta, dr.Spec.Subsets = meta(in.MVM, live.GetName()), wanted
		return dr, nil
	case VirtualServiceKind:
		vs := &networkingv1.VirtualService{}
		if err := decode(live, vs); err != nil {
			return nil, err
		}
		if !route(vs, v.Routed) {
			return nil, nil
		}
		vs.ObjectMeta = meta(in.MVM, live.GetName())
		return vs, nil
	default:
		return nil, nil
	}
}

// route sets the subset of the default destinations and reports whether one changed. A
// single destination that the spec declares has a weight (package meshroutes).
func route(vs *networkingv1.VirtualService, subset string) (changed bool) {
	set := func(d *networkingv1alpha3.Destination, weight int32, all int) {
		if d != nil && weight == 0 && all == 1 && d.Subset != subset {
			d.Subset, changed = subset, true
		}
	}
	for _, r := range vs.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			set(d.GetDestination(), d.GetWeight(), len(r.GetRoute()))
		}
	}
	connections := func(destinations []*networkingv1alpha3.RouteDestination) {
		for _, d := range destinations {
			set(d.GetDestination(), d.GetWeight(), len(destinations))
		}
	}
	for _, r := range vs.Spec.GetTls() {
		connections(r.GetRoute())
	}
	for _, r := range vs.Spec.GetTcp() {
		connections(r.GetRoute())
	}
	return changed
}

// decode decodes a live object. Istio's types decode only by their own JSON methods.
func decode(live *unstructured.Unstructured, into Object) error {
	text, err := live.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("decode %s %s: %w", live.GetKind(), live.GetName(), err)
	}
	return nil
}
