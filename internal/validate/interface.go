// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

const useMasquerade = "set masquerade: {} on the interface of the pod network"

// Primary identifies the guest's interface on the pod network.
type Primary struct {
	// Interface and Network are indexes into the spec's interfaces and
	// networks.
	Interface, Network int
	// Implicit means that the spec lists neither interfaces nor networks. The
	// operator adds both, because KubeVirt's default binding depends on a setting
	// of the cluster (KubeVirt, pkg/network/vmispec/defaults.go).
	Implicit bool
}

// PrimaryInterface finds the interface on the pod network. It rejects specs
// without such an interface, and bindings other than masquerade, because their
// traffic does not pass through the pod's NAT.
func PrimaryInterface(spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) (Primary, error) {
	devices := path.Child("domain", "devices")
	none := func(at *field.Path, format string, args ...any) (Primary, error) {
		return Primary{}, Invalidf(v1alpha1.ReasonNoMasqueradeInterface, at, format, args...)
	}
	if attach := spec.Domain.Devices.AutoattachPodInterface; attach != nil && !*attach && len(spec.Networks) == 0 {
		return none(devices.Child("autoattachPodInterface"), "the mesh requires the pod network: omit this field")
	}
	if len(spec.Networks) == 0 && len(spec.Domain.Devices.Interfaces) == 0 {
		return Primary{Implicit: true}, nil
	}
	network := podNetwork(spec.Networks)
	if network < 0 {
		return none(path.Child("networks"), "must contain the pod network: add an entry with pod: {}, and an interface of the same name with masquerade: {}")
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
	return none(devices.Child("interfaces"), "must contain an interface for the pod network %q: add an interface of this name with masquerade: {}", name)
}

func podNetwork(networks []kubevirtv1.Network) int {
	for i := range networks {
		if networks[i].Pod != nil {
			return i
		}
	}
	return -1
}

// checkBinding accepts masquerade and interfaces without a binding, which the
// operator sets to masquerade.
func checkBinding(iface *kubevirtv1.Interface, path *field.Path) error {
	reject := func(binding, problem string) error {
		return Invalidf(v1alpha1.ReasonNoMasqueradeInterface, path.Child(binding), "%s: %s", problem, useMasquerade)
	}
	switch {
	case iface.State == kubevirtv1.InterfaceStateAbsent:
		return Invalidf(v1alpha1.ReasonNoMasqueradeInterface, path.Child("state"), "an absent interface carries no traffic: omit this field")
	case iface.Bridge != nil:
		return Invalidf(v1alpha1.ReasonBridgeBinding, path.Child("bridge"),
			"the bridge binding assigns the pod's address to the guest, so the mesh cannot redirect its traffic: %s", useMasquerade)
	case iface.Binding != nil:
		return reject("binding", fmt.Sprintf("the binding plugin %q is not supported", iface.Binding.Name))
	case iface.PasstBinding != nil:
		return reject("passtBinding", "the passt binding has no bridge, so the mesh cannot redirect its traffic")
	case iface.DeprecatedPasst != nil:
		return reject("passt", "the passt binding has no bridge, so the mesh cannot redirect its traffic")
	case iface.SRIOV != nil:
		return reject("sriov", "an SR-IOV device bypasses the pod's network")
	case iface.DeprecatedSlirp != nil:
		return reject("slirp", "KubeVirt has removed the slirp binding")
	case iface.DeprecatedMacvtap != nil:
		return reject("macvtap", "KubeVirt has removed the macvtap binding")
	default:
		return nil
	}
}
