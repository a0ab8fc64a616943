// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

func (c *checker) virtualMachine(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	template := mvm.Spec.VirtualMachine.Template
	if template == nil {
		c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("template"), "describe the guest here, as in a VirtualMachine of KubeVirt")
		return
	}
	c.templateLabels(mvm, template, path.Child("template", "metadata"))
	spec := path.Child("template", "spec")
	c.probes(mvm, &template.Spec, spec)
	primary, err := PrimaryInterface(&template.Spec, spec)
	if err != nil {
		c.add(err)
		return
	}
	if primary.Implicit {
		return
	}
	c.forwardedPorts(template.Spec.Domain.Devices.Interfaces[primary.Interface],
		spec.Child("domain", "devices", "interfaces").Index(primary.Interface))
	network := &template.Spec.Networks[primary.Network]
	for _, f := range families {
		_, err := f.addresses(network, spec.Child("networks").Index(primary.Network))
		c.add(err)
	}
}

// annotationInterception chooses how Istio takes connections (Istio,
// api/annotation, sidecar.istio.io/interceptionMode).
const annotationInterception = "sidecar.istio.io/interceptionMode"

// templateLabels refuses labels and annotations that contradict the spec: to
// overrule them silently would leave a wish unfulfilled without a word.
func (c *checker) templateLabels(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec, path *field.Path) {
	labels, annotations := path.Child("labels"), path.Child("annotations")
	meta := template.ObjectMeta
	if v, ok := meta.Labels[v1alpha1.LabelVersion]; ok && v != mvm.Spec.VersionOrDefault() {
		c.refuse(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelVersion),
			"is %q, but spec.version is %q: set spec.version, or remove the label", v, mvm.Spec.VersionOrDefault())
	}
	if v, ok := meta.Labels[v1alpha1.LabelMeshedVirtualMachine]; ok && v != mvm.Name {
		c.refuse(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelMeshedVirtualMachine), "belongs to the operator: remove the label")
	}
	if _, ok := meta.Labels[v1alpha1.LabelStartGate]; ok {
		c.refuse(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelStartGate), "belongs to the operator: remove the label, and set spec.start")
	}
	if v := meta.Annotations[annotationInterception]; strings.EqualFold(v, "TPROXY") {
		c.refuse(v1alpha1.ReasonInvalidSpec, annotations.Key(annotationInterception),
			"TPROXY takes the guest's own connections for inbound ones: remove the annotation, REDIRECT is what works with a virtual machine")
	}
}

// forwardedPorts refuses reserved ports in the interface's own lists. For a
// listed port KubeVirt's NAT has no exception for the proxy's ports: it would
// send the proxy's local connections to the guest (KubeVirt,
// pkg/network/setup/netpod/masquerade). Ports that spec.ports has and these
// lists lack are no fault: our own rules do not depend on KubeVirt's.
func (c *checker) forwardedPorts(iface kubevirtv1.Interface, path *field.Path) {
	for i, p := range iface.Ports {
		if !strings.EqualFold(p.Protocol, "UDP") && isReserved(p.Port) {
			c.refuse(v1alpha1.ReasonReservedPort, path.Child("ports").Index(i).Child("port"), "%s", reservedMessage(p.Port))
		}
	}
	for i, r := range iface.PortRanges {
		if strings.EqualFold(r.Protocol, "UDP") {
			continue
		}
		for _, p := range ReservedPorts {
			if r.Start <= p && p <= r.End {
				c.refuse(v1alpha1.ReasonReservedPort, path.Child("portRanges").Index(i), "%s", reservedMessage(p))
				break
			}
		}
	}
}
