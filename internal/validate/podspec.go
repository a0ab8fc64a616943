// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The checks of this file are of fields that KubeVirt copies to the pod, where they
// also concern the sidecar.

// resolver rejects a pod that does not use the cluster's resolver. Istio's proxy
// finds its control plane by a name of the cluster without the cluster's domain, and
// the guest starts after its proxy. With the policy ClusterFirst, nameservers in
// dnsConfig are used in addition to the cluster's (Kubernetes, Pod's DNS Config).
func (e *Errors) resolver(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine) {
	template := mvm.Spec.VirtualMachine.Template
	if template == nil || isAmbient(mvm) {
		return
	}
	policy := template.Spec.DNSPolicy
	if policy != corev1.DNSDefault && (policy != corev1.DNSNone || cluster.resolves(template.Spec.DNSConfig)) {
		return
	}
	keep := ""
	if len(cluster.Resolvers) > 0 && policy == corev1.DNSNone {
		keep = fmt.Sprintf(", or add %s to dnsConfig.nameservers and %s to dnsConfig.searches", cluster.Resolvers[0], cluster.Domain)
	}
	e.Reject(v1alpha1.ReasonInvalidSpec, templateSpecPath.Child("dnsPolicy"),
		"with policy %s the sidecar cannot resolve the names of the cluster, so it cannot find Istio's control plane and the guest never starts: "+
			"omit dnsPolicy, and add other resolvers to dnsConfig.nameservers or configure them in the guest%s", policy, keep)
}

// resolves reports whether a pod with this configuration alone resolves names of the
// cluster.
func (c Cluster) resolves(config *corev1.PodDNSConfig) bool {
	return config != nil && c.Domain != "" && slices.Contains(config.Searches, c.Domain) &&
		slices.ContainsFunc(config.Nameservers, func(n string) bool { return slices.Contains(c.Resolvers, n) })
}

// ProxyResource is one of the annotations for the resources of Istio's sidecar.
type ProxyResource struct {
	// Annotation is the name of the annotation.
	Annotation string
	// Value is the value for a pod of QoS class Guaranteed.
	Value string
}

// GuaranteedProxy lists the resources of the sidecar in a pod of QoS class
// Guaranteed. Istio ignores its own defaults when one of the annotations is set
// (Istio, manifests/charts/istio-control/istio-discovery/files/injection-template).
// A CPU limit below 1 leaves the sidecar in the node's shared pool of CPUs.
var GuaranteedProxy = []ProxyResource{
	{"sidecar.istio.io/proxyCPU", "500m"},
	{"sidecar.istio.io/proxyCPULimit", "500m"},
	{"sidecar.istio.io/proxyMemory", "512Mi"},
	{"sidecar.istio.io/proxyMemoryLimit", "512Mi"},
}

// WantsGuaranteed reports whether a guest requests a pod of QoS class Guaranteed.
// Without it, KubeVirt does not start a guest with dedicated CPUs (KubeVirt,
// pkg/virt-controller/watch/vmi/lifecycle.go).
func WantsGuaranteed(spec *kubevirtv1.VirtualMachineInstanceSpec) bool {
	if cpu := spec.Domain.CPU; cpu != nil && cpu.DedicatedCPUPlacement {
		return true
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit := spec.Domain.Resources.Limits[name]
		request, asked := spec.Domain.Resources.Requests[name]
		if limit.IsZero() || asked && request.Cmp(limit) != 0 {
			return false
		}
	}
	return true
}

// SetsProxyResources reports whether one of the annotations is set.
func SetsProxyResources(annotations map[string]string) bool {
	for _, r := range GuaranteedProxy {
		if _, ok := annotations[r.Annotation]; ok {
			return true
		}
	}
	return false
}

// proxyResources rejects resources of the sidecar that do not allow QoS class
// Guaranteed for a guest with dedicated CPUs.
func (e *Errors) proxyResources(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec, path *field.Path) {
	annotations := template.ObjectMeta.Annotations
	if isAmbient(mvm) || !WantsGuaranteed(&template.Spec) || !SetsProxyResources(annotations) {
		return
	}
	for i := 0; i < len(GuaranteedProxy); i += 2 {
		request, limit := GuaranteedProxy[i].Annotation, GuaranteedProxy[i+1].Annotation
		if err := equalQuantities(annotations[request], annotations[limit]); err != "" {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("annotations").Key(limit),
				"%s: a guest with dedicated CPUs, or with limits that equal its requests, requires equal requests and limits of the sidecar: set %s and %s to the same quantity, or remove all four annotations for the resources of the sidecar",
				err, request, limit)
		}
	}
}

func equalQuantities(request, limit string) string {
	r, err := resource.ParseQuantity(request)
	if err != nil {
		return fmt.Sprintf("the request %q is not a quantity", request)
	}
	l, err := resource.ParseQuantity(limit)
	if err != nil {
		return fmt.Sprintf("the limit %q is not a quantity", limit)
	}
	if r.Cmp(l) != 0 {
		return fmt.Sprintf("the request %s differs from the limit %s", request, limit)
	}
	return ""
}
