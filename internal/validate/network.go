// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Default networks of a guest (KubeVirt, pkg/virt-launcher/virtwrap/api,
// DefaultVMCIDR and DefaultVMIpv6CIDR).
const (
	DefaultVMNetworkCIDR     = "10.0.2.0/24"
	DefaultVMIPv6NetworkCIDR = "fd10:0:2::/120"
)

// minAddressBits is the number of host bits of the smallest guest network: network, gateway, guest
// and broadcast address.
const minAddressBits = 2

// NetworkField returns the name of the field of a pod network that specifies the
// guest's network of an address family.
func NetworkField(f v1alpha1.IPFamily) string {
	if f == v1alpha1.IPFamilyIPv6 {
		return "vmIPv6NetworkCIDR"
	}
	return "vmNetworkCIDR"
}

// GuestNetwork returns the network of a masquerade interface for one address
// family, masked. A nil network, or one without a value, stands for KubeVirt's
// default. It rejects values of the other family and networks of fewer than four
// addresses; path is the path of the network.
func GuestNetwork(f v1alpha1.IPFamily, network *kubevirtv1.Network, path *field.Path) (netip.Prefix, error) {
	pod := &kubevirtv1.PodNetwork{}
	if network != nil && network.Pod != nil {
		pod = network.Pod
	}
	text, standard, is := pod.VMNetworkCIDR, DefaultVMNetworkCIDR, netip.Addr.Is4
	if f == v1alpha1.IPFamilyIPv6 {
		text, standard, is = pod.VMIPv6NetworkCIDR, DefaultVMIPv6NetworkCIDR, netip.Addr.Is6
	}
	if text == "" {
		text = standard
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !is(p.Addr()) || p.Addr().Is4In6() || p.Addr().BitLen()-p.Bits() < minAddressBits {
		return netip.Prefix{}, Invalidf(v1alpha1.ReasonInvalidCIDR, path.Child("pod", NetworkField(f)),
			"must be an %s network of at least four addresses, for example %s", f, standard)
	}
	return p.Masked(), nil
}
