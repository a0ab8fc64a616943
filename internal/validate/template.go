// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// runStrategies are the run strategies of KubeVirt.
var runStrategies = []kubevirtv1.VirtualMachineRunStrategy{
	kubevirtv1.RunStrategyAlways, kubevirtv1.RunStrategyHalted, kubevirtv1.RunStrategyManual,
	kubevirtv1.RunStrategyOnce, kubevirtv1.RunStrategyRerunOnFailure, kubevirtv1.RunStrategyWaitAsReceiver,
}

func (e *Errors) virtualMachine(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	vm := mvm.Spec.VirtualMachine
	if vm.Running != nil && vm.RunStrategy != nil {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must not set both runStrategy and running: remove running, which KubeVirt has deprecated")
	}
	// KubeVirt's webhook rejects other values without naming these.
	if r := vm.RunStrategy; r != nil && !slices.Contains(runStrategies, *r) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("runStrategy"), "%q is not a run strategy of KubeVirt: set one of %v", *r, runStrategies)
	}
	template := mvm.Spec.VirtualMachine.Template
	if template == nil && mvm.Spec.Adopts() {
		return // The operator has not read the existing VirtualMachine.
	}
	if template == nil {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("template"), "is required: describe the guest as in a VirtualMachine of KubeVirt")
		return
	}
	e.templateLabels(mvm, template, path.Child("template", "metadata"))
	spec := path.Child("template", "spec")
	e.probes(mvm, &template.Spec, spec)
	e.proxyResources(mvm, template, path.Child("template", "metadata"))
	primary, err := PrimaryInterface(&template.Spec, spec)
	if err != nil {
		e.Add(err)
		return
	}
	if primary.Implicit {
		return
	}
	e.forwardedPorts(template.Spec.Domain.Devices.Interfaces[primary.Interface],
		spec.Child("domain", "devices", "interfaces").Index(primary.Interface))
	network := &template.Spec.Networks[primary.Network]
	for _, f := range []v1alpha1.IPFamily{v1alpha1.IPFamilyIPv4, v1alpha1.IPFamilyIPv6} {
		_, err := GuestNetwork(f, network, spec.Child("networks").Index(primary.Network))
		e.Add(err)
	}
}

// templateLabels rejects labels that contradict the spec, because the operator
// would silently overwrite them.
func (e *Errors) templateLabels(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec, path *field.Path) {
	labels := path.Child("labels")
	meta := template.ObjectMeta
	if v, ok := meta.Labels[v1alpha1.LabelVersion]; ok && v != mvm.Spec.VersionOrDefault() {
		e.Reject(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelVersion),
			"the value %q differs from spec.version, which is %q: set spec.version, or remove the label", v, mvm.Spec.VersionOrDefault())
	}
	for _, own := range []struct{ key, value string }{{v1alpha1.LabelMeshedVirtualMachine, mvm.Name}, {v1alpha1.LabelService, mvm.ServiceName()}} {
		if v, ok := meta.Labels[own.key]; ok && v != own.value {
			e.Reject(v1alpha1.ReasonInvalidSpec, labels.Key(own.key), "only the operator sets this label: remove it")
		}
	}
	if _, ok := meta.Labels[v1alpha1.LabelStartGate]; ok {
		e.Reject(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelStartGate), "only the operator sets this label: remove it, and set spec.start")
	}
	if _, ok := meta.Annotations[v1alpha1.AnnotationServiceAccount]; ok {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("annotations").Key(v1alpha1.AnnotationServiceAccount), "only the operator sets this annotation: remove it, and set spec.mesh.identity.serviceAccountName")
	}
}

// forwardedPorts rejects reserved ports in the port lists of the interface.
// KubeVirt's NAT redirects every listed port to the guest, without an exception
// for the proxy's ports, including local connections of the proxy (KubeVirt,
// pkg/network/setup/netpod/masquerade). Ports that are only in spec.ports are
// valid, because the rules do not depend on KubeVirt's lists.
func (e *Errors) forwardedPorts(iface kubevirtv1.Interface, path *field.Path) {
	for i, p := range iface.Ports {
		if !strings.EqualFold(p.Protocol, "UDP") && IsReserved(p.Port) {
			e.RejectReserved(p.Port, path.Child("ports").Index(i).Child("port"))
		}
	}
	for i, r := range iface.PortRanges {
		if strings.EqualFold(r.Protocol, "UDP") {
			continue
		}
		if p, ok := firstIn(v1alpha1.PortRange{Port: r.Start, EndPort: r.End}, ReservedPorts); ok {
			e.RejectReserved(p, path.Child("portRanges").Index(i))
		}
	}
}
