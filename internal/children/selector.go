// SPDX-License-Identifier: Apache-2.0

package children

import (
	corev1 "k8s.io/api/core/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// podSelector selects the pods of a guest for its Service: by the label of the Service,
// or, while a live pod does not have it, by the label of the MeshedVirtualMachine. A pod has
// the labels of its start, so a guest that an earlier version of the operator started gets
// the label of the Service at its next start. Labels that a user can set, such as app, are
// not used, because an edit would remove the running pod from the Service.
//
// A clone of the VirtualMachine has a copy of all labels of the template. KubeVirt sets two
// labels on the pods itself, which a copy does not have:
//
//   - vmi.kubevirt.io/id is the name of the VirtualMachineInstance. Pods that were
//     created before KubeVirt 1.7 do not have it.
//   - vm.kubevirt.io/name is the host name: the name of the VirtualMachineInstance, or
//     spec.hostname, which a clone copies.
//
// (KubeVirt, pkg/virt-controller/services/template.go, podLabels.)
//
// The selector of a Service with several members cannot contain the name of one
// instance. The webhook removes the label of the Service from the pods of copies.
func podSelector(in serviceInput) map[string]string {
	if in.SelectsAll() {
		return map[string]string{v1alpha1.LabelService: in.Name}
	}
	if in.Lead().Spec.Adopts() {
		return GuestLabels(in.Lead())
	}
	pods := in.Members[0].Pods
	selector := map[string]string{}
	if service, ok := shared(pods, v1alpha1.LabelService); ok && service == in.Name || len(pods) == 0 {
		selector[v1alpha1.LabelService] = in.Name
	} else {
		selector[v1alpha1.LabelMeshedVirtualMachine] = in.Lead().Name
	}
	if _, ok := shared(pods, kubevirtv1.VirtualMachineInstanceIDLabel); ok || len(pods) == 0 {
		selector[kubevirtv1.VirtualMachineInstanceIDLabel] = in.Lead().VirtualMachineName()
	} else if host, ok := shared(pods, kubevirtv1.DeprecatedVirtualMachineNameLabel); ok {
		selector[kubevirtv1.DeprecatedVirtualMachineNameLabel] = host
	}
	return selector
}

// GuestLabels are labels that all pods of the guest have, and no others. The pods of an
// existing VirtualMachine that were started before its adoption do not have the operator's
// labels, so its pods are selected by KubeVirt's. The operator does not write pods.
func GuestLabels(mvm *v1alpha1.MeshedVirtualMachine) map[string]string {
	if mvm.Spec.Adopts() {
		return map[string]string{kubevirtv1.VirtualMachineInstanceIDLabel: mvm.VirtualMachineName()}
	}
	return map[string]string{v1alpha1.LabelMeshedVirtualMachine: mvm.Name}
}

// shared returns the value of a label that all pods have in common.
func shared(pods []corev1.Pod, label string) (value string, ok bool) {
	for i, p := range pods {
		v, has := p.Labels[label]
		if !has || i > 0 && v != value {
			return "", false
		}
		value = v
	}
	return value, len(pods) > 0
}
