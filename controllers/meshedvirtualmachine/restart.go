// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// restartRequired returns the reasons why the running guest must be restarted, or an
// empty string. A pod has the labels, annotations and containers of its start.
func (s *scope) restartRequired() string {
	var reasons []string
	if message := s.otherVersion(); message != "" {
		reasons = append(reasons, message)
	}
	if message := s.notSelected(); message != "" {
		reasons = append(reasons, message)
	}
	for i := range s.pods {
		if d := s.templateDifferences(&s.pods[i]); len(d) > 0 {
			reasons = append(reasons, fmt.Sprintf("pod %s was started before changes that take effect at the next start: %s; restart the guest", s.pods[i].Name, strings.Join(d, ", ")))
			break
		}
	}
	if c := s.vmCondition(kubevirtv1.VirtualMachineRestartRequired); c != nil && c.Status == corev1.ConditionTrue {
		reasons = append(reasons, cmp.Or(c.Message, "KubeVirt requires a restart of the guest"))
	}
	return strings.Join(reasons, "; ")
}

// otherVersion describes a pod whose version is not that of the next pod, which is the
// version in the template of the VirtualMachine. Until the next start, subsets and routes
// use the version of the pod.
func (s *scope) otherVersion() string {
	if s.vm == nil || s.vm.Spec.Template == nil {
		return ""
	}
	waits := s.vm.Spec.Template.ObjectMeta.Labels[v1alpha1.LabelVersion]
	for i := range s.pods {
		if runs := s.pods[i].Labels[v1alpha1.LabelVersion]; runs != "" && waits != "" && runs != waits {
			return fmt.Sprintf("pod %s has version %s, and version %s takes effect at the next start of the guest: restart the guest, or set spec.version to %s",
				s.pods[i].Name, runs, waits, runs)
		}
	}
	return ""
}

// derived are the labels and annotations that the operator derives from fields of the
// spec, which are reported by the names of these fields, or whose changes are reported
// by other conditions.
var derived = []string{
	v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, v1alpha1.LabelVersion, v1alpha1.LabelStartGate,
	v1alpha1.LabelDataPlaneMode, v1alpha1.LabelSidecarInject, v1alpha1.AnnotationServiceAccount,
}

// templateDifferences compares a pod with the template of the VirtualMachine, which the
// next pod has. A label or annotation that the VirtualMachineInstance has is not a
// difference, because KubeVirt does not copy some of them to the pod, and Istio's
// injector overwrites some of them there.
func (s *scope) templateDifferences(pod *corev1.Pod) []string {
	if s.vm == nil || s.vm.Spec.Template == nil || s.vmi == nil {
		return nil
	}
	template := s.vm.Spec.Template.ObjectMeta
	var out []string
	ignored := derived
	if has, wants := launcherpod.DataPlane(pod), planeOf(template.Labels); has != wants {
		out = append(out, fmt.Sprintf("mesh.dataPlane is %s and the pod has %s", wants, has))
		ignored = append(slices.Clone(derived), v1alpha1.AnnotationAmbientDNSCapture)
	}
	if has, wants := startPolicies[pod.Labels[v1alpha1.LabelStartGate]], startPolicies[template.Labels[v1alpha1.LabelStartGate]]; has != "" && wants != "" && has != wants {
		out = append(out, fmt.Sprintf("start is %s and the pod has %s", wants, has))
	}
	if d := accountDifference(template.Annotations[v1alpha1.AnnotationServiceAccount], pod); d != "" {
		out = append(out, d)
	}
	out = append(out, keysThatDiffer("label", template.Labels, pod.Labels, s.vmi.Labels, ignored)...)
	return append(out, keysThatDiffer("annotation", template.Annotations, pod.Annotations, s.vmi.Annotations, ignored)...)
}

// accountDifference describes a pod with another service account than the one that the
// webhook sets in the next pod. Without a name, the next pod has the service account that
// KubeVirt gives to it.
func accountDifference(wants string, pod *corev1.Pod) string {
	has := cmp.Or(pod.Spec.ServiceAccountName, "default")
	switch requested := pod.Annotations[v1alpha1.AnnotationServiceAccount]; {
	case wants != "" && wants != has:
		return fmt.Sprintf("mesh.identity.serviceAccountName is %s and the pod has %s", wants, has)
	case wants == "" && requested != "" && requested == has:
		return fmt.Sprintf("mesh.identity is not set and the pod has service account %s", has)
	default:
		return ""
	}
}

// startPolicies maps the values of the label of the start gate to spec.start.
var startPolicies = map[string]v1alpha1.StartPolicy{
	v1alpha1.StartGateContainer: v1alpha1.StartPolicyAfterProgrammed,
	v1alpha1.StartGateWatch:     v1alpha1.StartPolicyImmediate,
}

// planeOf returns the data plane that the labels of a template request.
func planeOf(labels map[string]string) v1alpha1.DataPlane {
	if labels[v1alpha1.LabelDataPlaneMode] == v1alpha1.DataPlaneModeAmbient {
		return v1alpha1.DataPlaneAmbient
	}
	return v1alpha1.DataPlaneSidecar
}

// keysThatDiffer describes the keys of the template that neither the pod nor the
// VirtualMachineInstance has with this value, and the keys of Istio that were removed
// from the template. Other clients can add further keys to the VirtualMachineInstance,
// but not those of Istio, which have no effect there.
func keysThatDiffer(kind string, template, pod, vmi map[string]string, ignored []string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(template)) {
		if !slices.Contains(ignored, k) && pod[k] != template[k] && vmi[k] != template[k] {
			out = append(out, kind+" "+k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(vmi)) {
		domain, _, _ := strings.Cut(k, "/")
		_, kept := template[k]
		if !kept && !slices.Contains(ignored, k) && strings.HasSuffix("."+domain, ".istio.io") {
			out = append(out, "removed "+kind+" "+k)
		}
	}
	return out
}

// dataPlane returns the data plane of the live pods. Without a pod, it is the spec's.
func (s *scope) dataPlane() v1alpha1.DataPlane {
	for i := range s.pods {
		return launcherpod.DataPlane(&s.pods[i])
	}
	return s.mvm.Spec.Mesh.DataPlaneOrDefault()
}
