// SPDX-License-Identifier: Apache-2.0

package children

import (
	corev1 "k8s.io/api/core/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// podSelector selects the pods of the guest for its Service. A clone of the
// VirtualMachine has a copy of all labels of the template. KubeVirt sets two
// labels on the pods itself, which a copy does not have:
//
//   - vmi.kubevirt.io/id is the name of the VirtualMachineInstance. Pods that were
//     created before KubeVirt 1.7 do not have it.
//   - vm.kubevirt.io/name is the host name: the name of the VirtualMachineInstance, or
//     spec.hostname, which a clone copies.
//
// (KubeVirt, pkg/virt-controller/services/template.go, podLabels.)
func podSelector(in Input) map[string]string {
	mvm := in.MVM
	selector := map[string]string{
		// Istio names the workload by the label app. The other label excludes
		// unrelated pods with the same value.
		v1alpha1.LabelApp:                  app(mvm),
		v1alpha1.LabelMeshedVirtualMachine: mvm.Name,
	}
	if _, ok := shared(in.LauncherPods, kubevirtv1.VirtualMachineInstanceIDLabel); ok || len(in.LauncherPods) == 0 {
		selector[kubevirtv1.VirtualMachineInstanceIDLabel] = mvm.Name
	} else if name, ok := shared(in.LauncherPods, kubevirtv1.DeprecatedVirtualMachineNameLabel); ok {
		selector[kubevirtv1.DeprecatedVirtualMachineNameLabel] = name
	}
	return selector
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
