// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// ownPrefix is the prefix of the labels and annotations that the operator sets.
const ownPrefix = "meshvm.io/"

// service rejects settings of the Service that have no effect with its type.
func (e *Errors) service(mvm *v1alpha1.MeshedVirtualMachine, spec *field.Path) {
	s, path := mvm.Spec.Service, spec.Child("service")
	e.metadata(s.Labels, s.Annotations, path)
	balanced := s.Type == v1alpha1.ServiceTypeLoadBalancer
	onNodes := balanced || s.Type == v1alpha1.ServiceTypeNodePort
	if s.ExternalTrafficPolicy != "" && !onNodes {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("externalTrafficPolicy"), "applies only to type NodePort or LoadBalancer: omit it, or set type")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"loadBalancerClass", s.LoadBalancerClass != ""}, {"loadBalancerSourceRanges", len(s.LoadBalancerSourceRanges) > 0}} {
		if f.set && !balanced {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child(f.name), "applies only to type LoadBalancer: omit it, or set type")
		}
	}
	for i, cidr := range s.LoadBalancerSourceRanges {
		if _, err := ParseCIDR(cidr); err != nil {
			e.Reject(v1alpha1.ReasonInvalidCIDR, path.Child("loadBalancerSourceRanges").Index(i), "%s", err)
		}
	}
	for i, p := range mvm.Spec.Ports {
		at := spec.Child("ports").Index(i)
		if p.NodePort != 0 && !onNodes {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("nodePort"), "applies only to service.type NodePort or LoadBalancer: omit nodePort, or set service.type")
		}
		if s.Type == v1alpha1.ServiceTypeHeadless && p.TargetPortOrDefault() != p.Port {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("targetPort"),
				"a headless Service does not translate ports, so clients connect to port %d: set port to %d, or set another service.type", p.TargetPort, p.TargetPort)
		}
	}
}

// exportTo rejects lists that Istio rejects (pkg/config/validation,
// validateExportTo).
func (e *Errors) exportTo(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	const all, own = "*", "."
	entries, seen := mvm.Spec.Mesh.ExportTo, map[string]bool{}
	for i, name := range entries {
		at := path.Index(i)
		switch name {
		case all:
			if len(entries) > 1 {
				e.Reject(v1alpha1.ReasonInvalidSpec, at, "\"*\" exports to all namespaces: remove the other entries")
			}
		case own:
			name = mvm.Namespace
		default:
			if len(utilvalidation.IsDNS1123Label(name)) > 0 {
				e.Reject(v1alpha1.ReasonInvalidSpec, at, "invalid namespace %q: must be \"*\", \".\" or the name of a namespace", name)
			}
		}
		if seen[name] {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "duplicate namespace %s, which \".\" also means in this namespace: keep one entry per namespace", name)
		}
		seen[name] = true
	}
}

// metadata rejects labels and annotations that Kubernetes does not accept or that
// the operator sets itself.
func (e *Errors) metadata(labels, annotations map[string]string, path *field.Path) {
	invalid := slices.Concat(
		metavalidation.ValidateLabels(labels, path.Child("labels")),
		validation.ValidateAnnotations(annotations, path.Child("annotations")),
	)
	for _, err := range invalid {
		e.Add(&Invalid{Reason: v1alpha1.ReasonInvalidSpec, Field: err.Field, Message: err.ErrorBody()})
	}
	for _, list := range []struct {
		path   *field.Path
		values map[string]string
	}{{path.Child("labels"), labels}, {path.Child("annotations"), annotations}} {
		for _, key := range slices.Sorted(maps.Keys(list.values)) {
			if strings.HasPrefix(key, ownPrefix) || key == v1alpha1.LabelManagedBy {
				e.Reject(v1alpha1.ReasonInvalidSpec, list.path.Key(key), "only the operator sets this: remove it")
			}
		}
	}
}
