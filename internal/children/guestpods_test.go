// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/launcherpod"
)

// guestPods returns the guest's pods, for the tests that run Istio on the golden files. Their
// labels are those of the VirtualMachine's template, with the version and the data plane of
// each live pod.
func guestPods(objects []children.Object, live []corev1.Pod) []children.Object {
	var template *kubevirtv1.VirtualMachine
	for _, o := range objects {
		if vm, ok := o.(*kubevirtv1.VirtualMachine); ok {
			template = vm
		}
	}
	if template == nil { // an existing VirtualMachine: only the live pods are known
		template = &kubevirtv1.VirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: live[0].Namespace, Name: live[0].Labels[kubevirtv1.VirtualMachineInstanceIDLabel]}}
		template.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: live[0].Labels}}
	}
	ambient := template.Spec.Template.ObjectMeta.Labels[v1alpha1.LabelDataPlaneMode] == v1alpha1.DataPlaneModeAmbient
	pod := func(name string, ambient bool) *corev1.Pod {
		labels := maps.Clone(template.Spec.Template.ObjectMeta.Labels)
		labels[kubevirtv1.AppLabel] = "virt-launcher"
		labels[kubevirtv1.VirtualMachineInstanceIDLabel] = template.Name
		p := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: template.Namespace, Name: name, Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "compute", Image: "virt-launcher"}}},
		}
		if ambient {
			p.Annotations = map[string]string{v1alpha1.AnnotationAmbientRedirection: v1alpha1.AmbientRedirectionEnabled}
		} else {
			delete(labels, v1alpha1.LabelDataPlaneMode)
			labels[v1alpha1.LabelSidecarInject] = "true"
			p.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy", Image: "proxyv2"}}
		}
		return p
	}
	if len(live) == 0 {
		return []children.Object{pod("virt-launcher-"+template.Name, ambient)}
	}
	var pods []children.Object
	for i := range live {
		p := pod(live[i].Name, ambient && launcherpod.DataPlane(&live[i]) == v1alpha1.DataPlaneAmbient)
		delete(p.Labels, v1alpha1.LabelVersion)
		if version, ok := live[i].Labels[v1alpha1.LabelVersion]; ok {
			p.Labels[v1alpha1.LabelVersion] = version
		}
		pods = append(pods, p)
	}
	return pods
}
