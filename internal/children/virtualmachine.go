package children

import (
	"maps"

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
		v1alpha1.LabelApp:           app(mvm),
		v1alpha1.LabelVersion:       natplan.Version(mvm),
		v1alpha1.LabelSidecarInject: "true",
	})
	// The label asks Istio for the sidecar; the annotation tells KubeVirt that
	// there will be one.
	template.ObjectMeta.Annotations = merged(template.ObjectMeta.Annotations, map[string]string{
		v1alpha1.LabelSidecarInject: "true",
	})
	if _, own := template.ObjectMeta.Annotations[natplan.ProxyConfigAnnotation]; !own && mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy {
		template.ObjectMeta.Annotations[natplan.ProxyConfigAnnotation] = `{"proxyMetadata":{"` + natplan.DNSCapture + `":"true"}}`
	}
	if err := useMasquerade(&template.Spec); err != nil {
		return nil, err
	}
	holdBack(in, template)
	return vm, nil
}

// holdBack sees to it that the guest does not run before its rules are there. A
// start strategy of the user's own stays.
func holdBack(in Input, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) {
	switch {
	case in.MVM.Spec.StartOrDefault() != v1alpha1.StartPolicyAfterProgrammed:
	case in.StartGate != StartGatePause:
		template.ObjectMeta.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
	case template.Spec.StartStrategy == nil:
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
