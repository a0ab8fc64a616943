// SPDX-License-Identifier: Apache-2.0

package children

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/natplan"
)

// virtualMachine makes the VirtualMachine: the user's spec, with the labels
// that the mesh goes by and with the binding made explicit.
func virtualMachine(in Input) (*kubevirtv1.VirtualMachine, error) {
	mvm := in.MVM
	vm := &kubevirtv1.VirtualMachine{ObjectMeta: meta(mvm, mvm.Name)}
	vm.SetGroupVersionKind(VirtualMachineKind)
	vm.Spec = *mvm.Spec.VirtualMachine.DeepCopy()
	if vm.Spec.Template == nil {
		vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{}
	}
	template := vm.Spec.Template
	template.ObjectMeta.Labels = merged(template.ObjectMeta.Labels, labels(mvm), map[string]string{
		v1alpha1.LabelApp:     app(mvm),
		v1alpha1.LabelVersion: natplan.Version(mvm),
	})
	template.ObjectMeta.Annotations = merged(template.ObjectMeta.Annotations)
	if mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient {
		joinAmbient(mvm, &template.ObjectMeta)
	} else {
		joinBySidecar(mvm, &template.ObjectMeta)
	}
	if err := useMasquerade(&template.Spec); err != nil {
		return nil, err
	}
	holdBack(in, template)
	return vm, nil
}

// joinBySidecar asks Istio for a sidecar by a label; the annotation tells KubeVirt
// that there will be one.
func joinBySidecar(mvm *v1alpha1.MeshedVirtualMachine, template *metav1.ObjectMeta) {
	template.Labels[v1alpha1.LabelSidecarInject] = "true"
	template.Annotations[v1alpha1.LabelSidecarInject] = "true"
	if _, own := template.Annotations[natplan.ProxyConfigAnnotation]; !own && mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy {
		template.Annotations[natplan.ProxyConfigAnnotation] = `{"proxyMetadata":{"` + natplan.DNSCapture + `":"true"}}`
	}
}

// joinAmbient has istio-cni enrol the pod, and keeps a sidecar out of it, with
// which it would not be enrolled. KubeVirt hands labels and annotations of the
// guest on to the pod. Its own Istio branch, which an annotation turns on, is
// made for a sidecar.
func joinAmbient(mvm *v1alpha1.MeshedVirtualMachine, template *metav1.ObjectMeta) {
	template.Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
	template.Labels[v1alpha1.LabelSidecarInject] = "false"
	template.Annotations[v1alpha1.AnnotationAmbientDNSCapture] = natplan.AmbientDNSCapture(mvm)
}

// holdBack sees to it that the guest does not run before its rules are there, or
// at least that nobody is sent to it before. A start strategy of the user's own
// stays.
func holdBack(in Input, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) {
	held := in.MVM.Spec.StartOrDefault() == v1alpha1.StartPolicyAfterProgrammed
	switch {
	case in.StartGate != StartGatePause && held:
		template.ObjectMeta.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
	case in.StartGate != StartGatePause:
		template.ObjectMeta.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateWatch
	case held && template.Spec.StartStrategy == nil:
		template.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
	}
}

// useMasquerade names the binding of the primary interface where the user has
// left it open: KubeVirt would go by a setting of the cluster.
func useMasquerade(spec *kubevirtv1.VirtualMachineInstanceSpec) error {
	primary, err := natplan.PrimaryInterface(spec, field.NewPath("spec", "virtualMachine", "template", "spec"))
	if err != nil {
		return err
	}
	if primary.Implicit {
		spec.Networks = []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()}
		spec.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultMasqueradeNetworkInterface()}
		return nil
	}
	iface := &spec.Domain.Devices.Interfaces[primary.Interface]
	if iface.Masquerade == nil {
		iface.Masquerade = &kubevirtv1.InterfaceMasquerade{}
	}
	return nil
}

// merged is the first map with the entries of the others on top.
func merged(base map[string]string, more ...map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, base)
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}
