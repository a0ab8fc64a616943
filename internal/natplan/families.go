// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"errors"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
)

// The guest's networks when none is named (KubeVirt,
// pkg/virt-launcher/virtwrap/api, DefaultVMCIDR and DefaultVMIpv6CIDR).
const (
	DefaultVMNetworkCIDR     = "10.0.2.0/24"
	DefaultVMIPv6NetworkCIDR = "fd10:0:2::/120"
)

// DualStack is the variable of Istio's proxy without which it and Istio's rules
// carry one family of a pod that has both: IPv4 (Istio, tools/common/config,
// getLocalIP, and pilot/pkg/networking/core/listener_address.go).
const DualStack = "ISTIO_DUAL_STACK"

// family is what is the same in every pod about one address family.
type family struct {
	name v1alpha1.IPFamily
	nft  string
	// field of the pod network names the guest's network, value is its value
	// and standard what KubeVirt takes for none.
	field    string
	value    func(*kubevirtv1.PodNetwork) string
	standard string
	has      func(netip.Addr) bool
}

// families are all, in the order of plans.
var families = []family{
	{
		v1alpha1.IPFamilyIPv4, ruleio.FamilyIPv4,
		"vmNetworkCIDR", func(p *kubevirtv1.PodNetwork) string { return p.VMNetworkCIDR }, DefaultVMNetworkCIDR, netip.Addr.Is4,
	},
	{
		v1alpha1.IPFamilyIPv6, ruleio.FamilyIPv6,
		"vmIPv6NetworkCIDR", func(p *kubevirtv1.PodNetwork) string { return p.VMIPv6NetworkCIDR }, DefaultVMIPv6NetworkCIDR, netip.Addr.Is6,
	},
}

// addresses are those that KubeVirt gives the bridge and the guest on a network,
// with the field at fault if it cannot; nil stands for the default network.
func (f family) addresses(network *kubevirtv1.Network, path *field.Path) (v1alpha1.AddressFamily, error) {
	text := f.standard
	if network != nil && network.Pod != nil && f.value(network.Pod) != "" {
		text = f.value(network.Pod)
	}
	p, err := netip.ParsePrefix(text)
	if err == nil && f.has(p.Addr()) && !p.Addr().Is4In6() {
		gateway, guest, err := guestAddresses(p.Masked())
		if err == nil {
			return v1alpha1.AddressFamily{Family: f.name, Guest: guest.String(), Gateway: gateway.String()}, nil
		}
	}
	return v1alpha1.AddressFamily{}, invalidf(v1alpha1.ReasonInvalidCIDR, path.Child("pod", f.field).String(),
		"must be an %s network of at least four addresses, for example %s", f.name, f.standard)
}

// guestAddresses returns what KubeVirt makes of the network of a masquerade
// interface: the first host is the gateway, the second the guest (KubeVirt,
// pkg/network/link/address.go).
func guestAddresses(network netip.Prefix) (gateway, guest netip.Addr, err error) {
	gateway = network.Addr().Next()
	guest = gateway.Next()
	if network.Addr().BitLen()-network.Bits() < 2 || !guest.IsValid() {
		return gateway, guest, errors.New("fewer than four addresses")
	}
	return gateway, guest, nil
}

// of is the pod's address of the family, invalid if it has none.
func (f family) of(podIPs []string) netip.Addr {
	for _, s := range podIPs {
		if a, err := netip.ParseAddr(s); err == nil && f.has(a.Unmap()) {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// meshFamilies are the guest's addresses of the families that the mesh carries
// in the pod, on a network as in family.addresses.
func meshFamilies(pod *corev1.Pod, network *kubevirtv1.Network, path *field.Path) ([]v1alpha1.AddressFamily, error) {
	podIPs := make([]string, len(pod.Status.PodIPs))
	for i, ip := range pod.Status.PodIPs {
		podIPs[i] = ip.IP
	}
	if len(podIPs) == 0 {
		return nil, ErrNoPodAddress
	}
	var out []v1alpha1.AddressFamily
	for _, f := range families {
		if !f.of(podIPs).IsValid() || len(out) > 0 && carriesOneFamily(pod) {
			continue
		}
		a, err := f.addresses(network, path)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// carriesOneFamily reports whether the pod's sidecar leaves out IPv6 where there is
// IPv4. A pod without a sidecar is one of the ambient mesh, which has both.
func carriesOneFamily(pod *corev1.Pod) bool {
	return launcherpod.HasSidecar(pod) && !launcherpod.SidecarEnvTrue(pod, DualStack)
}

// planFamilies adds the pod's own addresses, IPv4 first. Families that the pod
// has no address of are left out.
func planFamilies(specs []v1alpha1.AddressFamily, podIPs []string, path *field.Path) ([]ruleio.Family, error) {
	if len(podIPs) == 0 {
		return nil, ErrNoPodAddress
	}
	if len(specs) == 0 {
		return nil, invalidf(v1alpha1.ReasonInvalidSpec, path.String(), "must hold an entry for each family that the mesh carries")
	}
	var errs []error
	planned := map[string]ruleio.Family{}
	seen := map[v1alpha1.IPFamily]bool{}
	for i, spec := range specs {
		at := path.Index(i)
		n := slices.IndexFunc(families, func(f family) bool { return f.name == spec.Family })
		if n < 0 || seen[spec.Family] {
			errs = append(errs, invalidf(v1alpha1.ReasonInvalidSpec, at.Child("family").String(), "must be IPv4 or IPv6, each at most once"))
			continue
		}
		seen[spec.Family] = true
		p, err := families[n].plan(spec, podIPs, at)
		errs = append(errs, err)
		if err == nil && p.Pod != "" {
			planned[p.Name] = p
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var out []ruleio.Family
	for _, f := range families {
		if p, ok := planned[f.nft]; ok {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, invalidf(v1alpha1.ReasonInvalidSpec, "status.podIPs", "the pod has no address of the families in %s", path)
	}
	return out, nil
}

// plan checks the entry of a family; Pod is empty if the pod has no address of
// it.
func (f family) plan(spec v1alpha1.AddressFamily, podIPs []string, path *field.Path) (ruleio.Family, error) {
	parse := func(name, text string) (netip.Addr, error) {
		a, err := netip.ParseAddr(text)
		if err != nil || !f.has(a) || a.Is4In6() || a.Zone() != "" {
			return a, invalidf(v1alpha1.ReasonInvalidSpec, path.Child(name).String(), "must be an %s address", f.name)
		}
		return a, nil
	}
	guest, err := parse("guest", spec.Guest)
	if err != nil {
		return ruleio.Family{}, err
	}
	gateway, err := parse("gateway", spec.Gateway)
	if err != nil {
		return ruleio.Family{}, err
	}
	pod := f.of(podIPs)
	switch {
	case guest == gateway:
		return ruleio.Family{}, invalidf(v1alpha1.ReasonInvalidSpec, path.Child("guest").String(), "must differ from gateway")
	case !pod.IsValid():
		return ruleio.Family{}, nil
	case pod == guest || pod == gateway:
		return ruleio.Family{}, invalidf(v1alpha1.ReasonInvalidCIDR, path.Child("guest").String(),
			"the guest's network holds the pod's own address: set another %s on the pod network and restart the virtual machine", f.field)
	}
	return ruleio.Family{Name: f.nft, Guest: guest.String(), Gateway: gateway.String(), Pod: pod.String()}, nil
}
