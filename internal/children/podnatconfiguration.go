// SPDX-License-Identifier: Apache-2.0

package children

import (
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/natplan"
)

// podNATConfigurations builds the PodNATConfigurations of the live pods whose rules
// can be planned.
func podNATConfigurations(in Input) ([]Object, error) {
	var objects []Object
	for i := range in.LauncherPods {
		if c := podNATConfiguration(in, &in.LauncherPods[i]); c != nil {
			objects = append(objects, c)
		}
	}
	return objects, nil
}

// podNATConfiguration builds the PodNATConfiguration of one virt-launcher pod,
// or nil while the pod has no node or its addresses cannot be derived.
func podNATConfiguration(in Input, pod *corev1.Pod) *v1alpha1.PodNATConfiguration {
	if pod.Spec.NodeName == "" {
		return nil
	}
	facts := natplan.Facts{Pod: pod, VMI: in.VMI}
	var spec v1alpha1.PodNATConfigurationSpec
	var err error
	if in.LastAccepted != nil {
		spec, err = natplan.ConfigurationWithRulesOf(*in.LastAccepted, in.MVM, facts)
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
	if in.MutualTLS != nil && spec.DataPlane != v1alpha1.DataPlaneAmbient && len(spec.Inbound.Mesh) > 0 {
		c.Annotations = map[string]string{v1alpha1.AnnotationMutualTLS: meshpolicy.FormatModes(spec.Inbound.Mesh, func(port int32) v1alpha1.MTLSMode {
			return in.MutualTLS(pod.Labels, port)
		})}
	}
	c.SetGroupVersionKind(PodNATConfigurationKind)
	return c
}
