// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

const useMasquerade = "give the interface of the pod network the binding masquerade: {}"

// Primary is the guest's interface on the pod network.
type Primary struct {
	// Interface and Network are indexes into the spec's interfaces and
	// networks.
	Interface, Network int
	// Implicit means that the spec names neither interfaces nor networks, so
	// that the operator has to add both: left alone, KubeVirt would choose
	// the binding by a setting of the cluster (KubeVirt,
	// pkg/network/vmispec/defaults.go).
	Implicit bool
}

// PrimaryInterface finds the interface on the pod network, and refuses those
// that leave nothing for a NAT to do.
func PrimaryInterface(spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) (Primary, error) {
	devices := path.Child("domain", "devices")
	none := func(at *field.Path, format string, args ...any) (Primary, error) {
		return Primary{}, invalidf(v1alpha1.ReasonNoMasqueradeInterface, at.String(), format, args...)
	}
	if attach := spec.Domain.Devices.AutoattachPodInterface; attach != nil && !*attach && len(spec.Networks) == 0 {
		return none(devices.Child("autoattachPodInterface"), "without the pod network the guest cannot be in the mesh: leave this field out")
	}
	if len(spec.Networks) == 0 && len(spec.Domain.Devices.Interfaces) == 0 {
		return Primary{Implicit: true}, nil
	}
	network := podNetwork(spec.Networks)
	if network < 0 {
		return none(path.Child("networks"), "no network is the pod network: add an entry with pod: {} and an interface of its name with masquerade: {}")
	}
	name := spec.Networks[network].Name
	for i := range spec.Domain.Devices.Interfaces {
		iface := &spec.Domain.Devices.Interfaces[i]
		if iface.Name != name {
			continue
		}
		if err := checkBinding(iface, devices.Child("interfaces").Index(i)); err != nil {
			return Primary{}, err
		}
		return Primary{Interface: i, Network: network}, nil
	}
	return none(devices.Child("interfaces"), "no interface is named %q as the pod network is: add one with masquerade: {}", name)
}

func podNetwork(networks []kubevirtv1.Network) int {
	for i := range networks {
		if networks[i].Pod != nil {
			return i
		}
	}
	return -1
}

// checkBinding accepts masquerade, and no binding at all, which the operator
// makes masquerade.
func checkBinding(iface *kubevirtv1.Interface, path *field.Path) error {
	if iface.State == kubevirtv1.InterfaceStateAbsent {
		return invalidf(v1alpha1.ReasonNoMasqueradeInterface, path.Child("state").String(),
			"an absent interface carries no traffic: leave this field out")
	}
	refuse := func(binding, why string) error {
		return invalidf(v1alpha1.ReasonNoMasqueradeInterface, path.Child(binding).String(), "%s: %s", why, useMasquerade)
	}
	switch {
	case iface.Bridge != nil:
		return invalidf(v1alpha1.ReasonBridgeBinding, path.Child("bridge").String(),
			"the bridge binding hands the pod's address to the guest and leaves nothing for the mesh to redirect: %s", useMasquerade)
	case iface.Binding != nil:
		return refuse("binding", fmt.Sprintf("the binding plugin %q is not supported", iface.Binding.Name))
	case iface.PasstBinding != nil:
		return refuse("passtBinding", "the passt binding has no bridge whose traffic could be redirected")
	case iface.DeprecatedPasst != nil:
		return refuse("passt", "the passt binding has no bridge whose traffic could be redirected")
	case iface.SRIOV != nil:
		return refuse("sriov", "an SR-IOV device bypasses the pod's network")
	case iface.DeprecatedSlirp != nil:
		return refuse("slirp", "KubeVirt has removed the slirp binding")
	case iface.DeprecatedMacvtap != nil:
		return refuse("macvtap", "KubeVirt has removed the macvtap binding")
	default:
		return nil
	}
}
