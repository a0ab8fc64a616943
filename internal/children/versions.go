// SPDX-License-Identifier: Apache-2.0

package children

import (
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
	"meshvm.io/meshvm/internal/meshservice"
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

// versionsOf returns the subsets of all members of a Service, and the subset that the
// routes select unless they split the traffic.
func versionsOf(in serviceInput) Versions {
	v := VersionsOf(in.Lead(), in.pods())
	for _, m := range in.Members {
		v.Subsets = append(v.Subsets, VersionsOf(m.MVM, m.Pods).Subsets...)
	}
	slices.Sort(v.Subsets)
	v.Subsets = slices.Compact(v.Subsets)
	if len(v.Subsets) > 1 {
		v.Routed = ""
	}
	return v
}

// destinationsOf returns the default destinations of a port: one for each version
// with traffic, or one for the guests of the only version, without a weight. A route to a
// headless Service has no subset.
func (in serviceInput) destinationsOf(port uint32) []*networkingv1alpha3.RouteDestination {
	to := func(subset string, weight int32) *networkingv1alpha3.RouteDestination {
		return &networkingv1alpha3.RouteDestination{Weight: weight, Destination: &networkingv1alpha3.Destination{
			Host: in.host(), Port: &networkingv1alpha3.PortSelector{Number: port}, Subset: subset,
		}}
	}
	switch {
	case in.Lead().Spec.IsHeadless():
		return []*networkingv1alpha3.RouteDestination{to("", 0)}
	case !in.Splits():
		return []*networkingv1alpha3.RouteDestination{to(versionsOf(in).Routed, 0)}
	}
	var out []*networkingv1alpha3.RouteDestination
	for _, v := range in.Versions {
		if v.Effective > 0 {
			out = append(out, to(v.Name, v.Effective))
		}
	}
	if len(out) == 1 {
		out[0].Weight = 0
	}
	return out
}

// Routed returns the subsets that the routes select, none if they select all pods.
func Routed(service meshservice.Service) []string {
	var out []string
	for _, d := range (serviceInput{Service: service}).destinationsOf(0) {
		if subset := d.GetDestination().GetSubset(); subset != "" {
			out = append(out, subset)
		}
	}
	return out
}

func subsets(v Versions) []*networkingv1alpha3.Subset {
	out := make([]*networkingv1alpha3.Subset, 0, len(v.Subsets))
	for _, version := range v.Subsets {
		out = append(out, &networkingv1alpha3.Subset{Name: version, Labels: map[string]string{v1alpha1.LabelVersion: version}})
	}
	return out
}

// FollowVersions returns a DestinationRule or VirtualService of the last accepted spec
// with the subsets of the live pods and the percentages of the versions, or nil if the live
// object has them. While the spec is not accepted, the guest can restart with another
// version, which the routes of the last accepted spec do not select yet.
func FollowVersions(guest Input, live *unstructured.Unstructured) (Object, error) {
	in := guest.service()
	if len(in.pods()) == 0 || in.Lead().Spec.IsHeadless() {
		return nil, nil
	}
	switch live.GroupVersionKind() {
	case DestinationRuleKind:
		dr := &networkingv1.DestinationRule{}
		if err := decode(live, dr); err != nil {
			return nil, err
		}
		wanted := subsets(versionsOf(in))
		if slices.EqualFunc(dr.Spec.Subsets, wanted, func(a, b *networkingv1alpha3.Subset) bool { return a.GetName() == b.GetName() }) {
			return nil, nil
		}
		dr.ObjectMeta, dr.Spec.Subsets = serviceMeta(in, live.GetName()), wanted
		return dr, nil
	case VirtualServiceKind:
		vs := &networkingv1.VirtualService{}
		if err := decode(live, vs); err != nil {
			return nil, err
		}
		if !route(in, vs) {
			return nil, nil
		}
		vs.ObjectMeta = serviceMeta(in, live.GetName())
		return vs, nil
	default:
		return nil, nil
	}
}

// route sets the default destinations of all routes and reports whether one changed.
func route(in serviceInput, vs *networkingv1.VirtualService) (changed bool) {
	for _, r := range vs.Spec.GetHttp() {
		if wanted := follow(in, r.GetRoute()); wanted != nil {
			r.Route, changed = meshroutes.Weighted(wanted), true
		}
	}
	for _, r := range vs.Spec.GetTls() {
		if wanted := follow(in, r.GetRoute()); wanted != nil {
			r.Route, changed = wanted, true
		}
	}
	for _, r := range vs.Spec.GetTcp() {
		if wanted := follow(in, r.GetRoute()); wanted != nil {
			r.Route, changed = wanted, true
		}
	}
	return changed
}

// routed is a destination of a route.
type routed interface {
	GetDestination() *networkingv1alpha3.Destination
	GetWeight() int32
}

// follow returns the default destinations in the place of those of a route, or nil if the
// route has them or has destinations that the spec declares. A single destination that the
// spec declares has a weight (package meshroutes). Several default destinations have the
// percentages in the status of the lead.
func follow[D routed](in serviceInput, all []D) []*networkingv1alpha3.RouteDestination {
	var last []v1alpha1.ServiceVersionStatus
	for _, v := range in.Lead().Status.Service.Versions {
		if ptr.Deref(v.EffectivePercent, 0) > 0 {
			last = append(last, v)
		}
	}
	ofStatus := slices.EqualFunc(all, last, func(d D, v v1alpha1.ServiceVersionStatus) bool {
		return d.GetDestination().GetHost() == in.host() && d.GetDestination().GetSubset() == v.Version && d.GetWeight() == *v.EffectivePercent
	})
	if len(all) == 0 || (len(all) > 1 || all[0].GetWeight() != 0) && !ofStatus {
		return nil
	}
	wanted := in.destinationsOf(all[0].GetDestination().GetPort().GetNumber())
	if slices.EqualFunc(all, wanted, func(d D, w *networkingv1alpha3.RouteDestination) bool {
		return d.GetWeight() == w.GetWeight() && proto.Equal(d.GetDestination(), w.GetDestination())
	}) {
		return nil
	}
	return wanted
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
