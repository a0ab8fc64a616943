package natplan

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// Facts are what is known of one live virt-launcher pod.
type Facts struct {
	// Pod is the virt-launcher pod.
	Pod *corev1.Pod
	// VMI is the VirtualMachineInstance that the pod runs.
	VMI *kubevirtv1.VirtualMachineInstance
}

// CheckSpec refuses specs that cannot be carried out.
func CheckSpec(_ *v1alpha1.MeshedVirtualMachine) error { return nil }

// ConfigurationSpec derives the NAT configuration of one pod.
func ConfigurationSpec(_ *v1alpha1.MeshedVirtualMachine, _ Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	return v1alpha1.PodNATConfigurationSpec{}, errors.New("not written yet")
}

// Plan validates and normalises a NAT configuration.
func Plan(_ v1alpha1.PodNATConfigurationSpec, _ []string) (*ruleio.Plan, error) {
	return nil, errors.New("not written yet")
}
