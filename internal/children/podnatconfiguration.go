// SPDX-License-Identifier: Apache-2.0

package children

import (
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/natplan"
)

// podNATConfiguration makes the PodNATConfiguration of one virt-launcher pod,
// or nil as long as the pod has no node, or its addresses cannot be derived.
func podNATConfiguration(in Input, pod *corev1.Pod) *v1alpha1.PodNATConfiguration {
	if pod.Spec.NodeName == "" {
		return nil
	}
	facts := natplan.Facts{Pod: pod, VMI: in.VMI}
	var spec v1alpha1.PodNATConfigurationSpec
	var err error
	if in.Like != nil {
		spec, err = natplan.ConfigurationLike(*in.Like, in.MVM, facts)
	} else {
		spec, err = natplan.ConfigurationSpec(in.MVM, facts)
	}
	if err != nil {
		return nil
	}
	c := &v1alpha1.PodNATConfiguration{
		ObjectMeta: meta(in.MVM, PodNATConfigurationName(in.MVM.Name, pod.UID)),
		Spec:       spec,
	}
	c.SetGroupVersionKind(PodNATConfigurationKind)
	return c
}
