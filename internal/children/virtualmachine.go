// SPDX-License-Identifier: Apache-2.0

package children

import (
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
)

// virtualMachines returns no object for an existing VirtualMachine, which the operator
// adopts (Adoption).
func virtualMachines(in Input) ([]Object, error) {
	if in.MVM.Spec.Adopts() {
		return nil, nil
	}
	vm, err := virtualMachine(in)
	if err != nil {
		return nil, err
	}
	return []Object{vm}, nil
}

// virtualMachine builds the VirtualMachine: the user's spec, with the labels that
// the mesh uses and an explicit binding of the primary interface.
func virtualMachine(in Input) (*kubevirtv1.VirtualMachine, error) {
	mvm := in.MVM
	vm := &kubevirtv1.VirtualMachine{ObjectMeta: meta(mvm, mvm.VirtualMachineName())}
	vm.SetGroupVersionKind(VirtualMachineKind)
	if mvm.Spec.KeepsVirtualMachine() {
		// A deletion in the foreground deletes every object with an owner reference before
		// the operator can remove the reference (Kubernetes, pkg/controller/garbagecollector,
		// processTransitions).
		vm.OwnerReferences = nil
	}
	if from := inferredFrom(mvm.Spec.VirtualMachine); from != "" {
		vm.Annotations = map[string]string{v1alpha1.AnnotationInferredFrom: from}
	}
	if text := matchersOf(mvm.Spec.VirtualMachine); text != "" {
		vm.Annotations = merged(vm.Annotations, map[string]string{v1alpha1.AnnotationMatchers: text})
	}
	addMetadata(&vm.ObjectMeta, mvm.Spec.VirtualMachineMetadata.Labels, mvm.Spec.VirtualMachineMetadata.Annotations)
	vm.Spec = *mvm.Spec.VirtualMachine.DeepCopy()
	if vm.Spec.Template == nil {
		vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{}
	}
	template := vm.Spec.Template
	// Unlike on the children, nothing depends on the label managed-by of the guest.
	defaults := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}
	template.ObjectMeta.Labels = merged(defaults, template.ObjectMeta.Labels, map[string]string{v1alpha1.LabelApp: app(mvm)})
	requestMesh(in, template)
	if err := useMasquerade(&template.Spec); err != nil {
		return nil, err
	}
	return vm, nil
}

// requestMesh requests the data plane and the start gate, and sets the labels of the mesh.
func requestMesh(in Input, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) {
	mvm := in.MVM
	template.ObjectMeta.Labels = merged(template.ObjectMeta.Labels, map[string]string{
		v1alpha1.LabelMeshedVirtualMachine: mvm.Name,
		v1alpha1.LabelService:              mvm.ServiceName(),
		v1alpha1.LabelVersion:              mvm.Spec.VersionOrDefault(),
	})
	template.ObjectMeta.Annotations = merged(template.ObjectMeta.Annotations)
	if mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient {
		requestAmbient(mvm, &template.ObjectMeta)
	} else {
		requestSidecar(mvm, template)
	}
	applyStartGate(in, template)
	if account := mvm.Spec.Mesh.Identity.ServiceAccountName; account != "" {
		template.ObjectMeta.Annotations[v1alpha1.AnnotationServiceAccount] = account
	}
}

// requestSidecar requests Istio's sidecar with a label. The annotation of the same
// name selects KubeVirt's rules for a pod with a sidecar.
func requestSidecar(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) {
	meta := &template.ObjectMeta
	meta.Labels[v1alpha1.LabelSidecarInject] = "true"
	meta.Annotations[v1alpha1.LabelSidecarInject] = "true"
	if _, own := meta.Annotations[validate.ProxyConfigAnnotation]; !own && mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy {
		meta.Annotations[validate.ProxyConfigAnnotation] = `{"proxyMetadata":{"` + validate.DNSCapture + `":"true"}}`
	}
	// Istio's default resources would make the QoS class of the pod Burstable.
	if validate.WantsGuaranteed(&template.Spec) && !validate.SetsProxyResources(meta.Annotations) {
		for _, r := range validate.GuaranteedProxy {
			meta.Annotations[r.Annotation] = r.Value
		}
	}
}

// requestAmbient requests the enrollment of the pod by istio-cni, and excludes a
// sidecar, which would prevent it. KubeVirt copies the labels and annotations of
// the guest to the pod. KubeVirt's rules for a pod with a sidecar, which an
// annotation selects, do not apply.
func requestAmbient(mvm *v1alpha1.MeshedVirtualMachine, template *metav1.ObjectMeta) {
	template.Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
	template.Labels[v1alpha1.LabelSidecarInject] = "false"
	template.Annotations[v1alpha1.AnnotationAmbientDNSCapture] = validate.AmbientDNSCapture(mvm)
}

// applyStartGate requests the start gate: the guest does not run before its rules
// are verified, or, with start Immediate, the pod is not ready before. A start
// strategy in the user's spec is preserved.
func applyStartGate(in Input, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) {
	delayed := in.MVM.Spec.StartOrDefault() == v1alpha1.StartPolicyAfterProgrammed
	switch {
	case in.StartGate != StartGatePause && delayed:
		template.ObjectMeta.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
	case in.StartGate != StartGatePause:
		template.ObjectMeta.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateWatch
	case delayed && template.Spec.StartStrategy == nil:
		template.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
	}
}

// useMasquerade sets the binding of the primary interface if the user's spec
// does not set it: KubeVirt's default depends on a setting of the cluster.
func useMasquerade(spec *kubevirtv1.VirtualMachineInstanceSpec) error {
	primary, err := validate.PrimaryInterface(spec, field.NewPath("spec", "virtualMachine", "template", "spec"))
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

// merged returns a copy of the first map, overwritten with the entries of the
// others.
func merged(base map[string]string, more ...map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, base)
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}
