// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// DualStack is the environment variable of Istio's proxy that enables IPv6 in pods
// with addresses of both families. Without it, the proxy and Istio's rules carry
// only IPv4 in such pods (Istio, tools/common/config, getLocalIP, and
// pilot/pkg/networking/core/listener_address.go).
const DualStack = "ISTIO_DUAL_STACK"

// family describes one address family.
type family struct {
	name v1alpha1.IPFamily
	// nft is the name of the family in a plan.
	nft string
	// has reports whether an address belongs to the family.
	has func(netip.Addr) bool
}

// families lists the address families in the order of plans.
var families = []family{
	{v1alpha1.IPFamilyIPv4, ruleio.FamilyIPv4, netip.Addr.Is4},
	{v1alpha1.IPFamilyIPv6, ruleio.FamilyIPv6, netip.Addr.Is6},
}

// addresses returns the addresses that KubeVirt assigns on the network of a
// masquerade interface: the first host address is the gateway, which is the
// bridge, and the second is the guest (KubeVirt, pkg/network/link/address.go). A
// nil network stands for the default network.
func (f family) addresses(network *kubevirtv1.Network, path *field.Path) (v1alpha1.AddressFamily, error) {
	p, err := validate.GuestNetwork(f.name, network, path)
	if err != nil {
		return v1alpha1.AddressFamily{}, err
	}
	gateway := p.Addr().Next()
	return v1alpha1.AddressFamily{Family: f.name, Guest: gateway.Next().String(), Gateway: gateway.String()}, nil
}

// of returns the pod's address of the family, the zero value for none.
func (f family) of(podIPs []string) netip.Addr {
	for _, s := range podIPs {
		if a, err := netip.ParseAddr(s); err == nil && f.has(a.Unmap()) {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// meshFamilies returns the guest's addresses of the families that the mesh carries
// in the pod. A nil network stands for the default network.
func meshFamilies(pod *corev1.Pod, network *kubevirtv1.Network, path *field.Path) ([]v1alpha1.AddressFamily, error) {
	podIPs := addressesOf(pod)
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

// addressesOf returns the addresses that the pod reports.
func addressesOf(pod *corev1.Pod) []string {
	var out []string
	for _, ip := range pod.Status.PodIPs {
		out = append(out, ip.IP)
	}
	return out
}

// carriesOneFamily reports whether the pod's sidecar does not carry IPv6 in a pod
// that also has an IPv4 address. A pod without a sidecar is in ambient mode, which
// carries both families.
func carriesOneFamily(pod *corev1.Pod) bool {
	return launcherpod.HasSidecar(pod) && !launcherpod.SidecarEnvTrue(pod, DualStack)
}

// planFamilies adds the pod's addresses to the entries, IPv4 before IPv6. It omits
// families of which the pod has no address.
func planFamilies(specs []v1alpha1.AddressFamily, podIPs []string, path *field.Path) ([]ruleio.Family, error) {
	if len(podIPs) == 0 {
		return nil, ErrNoPodAddress
	}
	if len(specs) == 0 {
		return nil, validate.Invalidf(v1alpha1.ReasonInvalidSpec, path, "must contain an entry for each address family that the mesh carries")
	}
	e := &validate.Errors{}
	planned := map[string]ruleio.Family{}
	seen := map[v1alpha1.IPFamily]bool{}
	for i, spec := range specs {
		at := path.Index(i)
		n := slices.IndexFunc(families, func(f family) bool { return f.name == spec.Family })
		if n < 0 || seen[spec.Family] {
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("family"), "must be IPv4 or IPv6, each at most once")
			continue
		}
		seen[spec.Family] = true
		p, err := families[n].plan(spec, podIPs, at)
		e.Add(err)
		if err == nil && p.Pod != "" {
			planned[p.Name] = p
		}
	}
	if err := e.Join(); err != nil {
		return nil, err
	}
	var out []ruleio.Family
	for _, f := range families {
		if p, ok := planned[f.nft]; ok {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, validate.Invalidf(v1alpha1.ReasonInvalidSpec, field.NewPath("status", "podIPs"), "the pod has no address of the families in %s", path)
	}
	return out, nil
}

// plan checks one entry. Pod is empty if the pod has no address of the family.
func (f family) plan(spec v1alpha1.AddressFamily, podIPs []string, path *field.Path) (ruleio.Family, error) {
	parse := func(name, text string) (netip.Addr, error) {
		a, err := netip.ParseAddr(text)
		if err != nil || !f.has(a) || a.Is4In6() || a.Zone() != "" {
			return a, validate.Invalidf(v1alpha1.ReasonInvalidSpec, path.Child(name), "must be an %s address", f.name)
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
		return ruleio.Family{}, validate.Invalidf(v1alpha1.ReasonInvalidSpec, path.Child("guest"), "must differ from gateway")
	case !pod.IsValid():
		return ruleio.Family{}, nil
	case pod == guest || pod == gateway:
		return ruleio.Family{}, validate.Invalidf(v1alpha1.ReasonInvalidCIDR, path.Child("guest"),
			"the pod's address is in the guest's network: set another %s on the pod network and restart the virtual machine", validate.NetworkField(f.name))
	}
	return ruleio.Family{Name: f.nft, Guest: guest.String(), Gateway: gateway.String(), Pod: pod.String()}, nil
}
