// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	"meshvm.io/meshvm/internal/children"
)

// trim drops the fields that no controller reads: managed fields, and the spec and
// status of objects that the operator does not manage. Such objects are relevant only
// if they have the name of a child. The exceptions are the objects of Istio that can
// apply to the guest's pods or to its clients: their policies are kept, and what
// decides which of several routes and traffic policies is in effect. KubeVirt creates
// VirtualMachineInstances, so these are kept whether or not they have the label.
func trim(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok && u.GetLabels()[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByValue && !isInstance(u) {
		if spec, ok := u.Object["spec"].(map[string]any); ok {
			if spec = trimSpec(u.GroupVersionKind().GroupKind(), spec); spec == nil {
				delete(u.Object, "spec")
			} else {
				u.Object["spec"] = spec
			}
		}
		unstructured.RemoveNestedField(u.Object, "status")
	}
	return cache.TransformStripManagedFields()(o)
}

// isInstance reports whether the object is a VirtualMachineInstance. The rules of its
// pods are planned from its spec and status.
func isInstance(u *unstructured.Unstructured) bool {
	return u.GroupVersionKind().GroupKind() == kubevirtv1.VirtualMachineInstanceGroupVersionKind.GroupKind()
}

func trimSpec(kind schema.GroupKind, spec map[string]any) map[string]any {
	match := func(e map[string]any) {
		only(e, "port", "gateways", "sourceLabels", "sourceNamespace", "destinationSubnets", "sniHosts")
	}
	tls := func(e map[string]any) {
		only(e, "mode")
	}
	switch kind {
	case children.PeerAuthenticationKind.GroupKind(), children.AuthorizationPolicyKind.GroupKind():
		return spec
	case children.TelemetryKind.GroupKind():
		only(spec, "selector", "accessLogging", "tracing", "metrics")
		return spec
	case children.VirtualServiceKind.GroupKind():
		only(spec, "hosts", "gateways", "exportTo", "http", "tls", "tcp")
		for _, protocol := range []string{"http", "tls", "tcp"} {
			each(spec[protocol], func(route map[string]any) {
				only(route, "match")
				each(route["match"], match)
			})
		}
		return spec
	case children.SidecarKind.GroupKind():
		only(spec, "workloadSelector")
		return spec
	case children.ServiceEntryKind.GroupKind():
		only(spec, "hosts", "resolution", "workloadSelector", "endpoints")
		each(spec["endpoints"], func(endpoint map[string]any) { only(endpoint) })
		return spec
	case meshedvirtualmachine.GatewayKind.GroupKind():
		only(spec, "servers")
		each(spec["servers"], func(server map[string]any) {
			only(server, "hosts", "port", "tls")
			one(server["port"], func(port map[string]any) { only(port, "protocol") })
			one(server["tls"], tls)
		})
		return spec
	case children.DestinationRuleKind.GroupKind():
		only(spec, "host", "exportTo", "workloadSelector", "trafficPolicy", "subsets")
		each(spec["subsets"], func(subset map[string]any) {
			only(subset, "name", "labels", "trafficPolicy")
			one(subset["trafficPolicy"], func(policy map[string]any) { only(policy) })
		})
		one(spec["trafficPolicy"], func(policy map[string]any) {
			only(policy, "tls", "portLevelSettings")
			one(policy["tls"], tls)
			each(policy["portLevelSettings"], func(port map[string]any) {
				only(port, "port", "tls")
				one(port["tls"], tls)
			})
		})
		return spec
	default:
		return nil
	}
}

// only removes all other fields.
func only(o map[string]any, fields ...string) {
	maps.DeleteFunc(o, func(field string, _ any) bool { return !slices.Contains(fields, field) })
}

// one changes a value that is an object.
func one(value any, change func(map[string]any)) {
	if o, ok := value.(map[string]any); ok {
		change(o)
	}
}

// each changes the objects of a value that is a list.
func each(value any, change func(map[string]any)) {
	list, _ := value.([]any)
	for _, e := range list {
		one(e, change)
	}
}
