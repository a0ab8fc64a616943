// SPDX-License-Identifier: Apache-2.0

package children

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// sidecar builds the Sidecar that limits the destinations of the guest. It returns nil
// for a guest without mesh.egress.
func sidecar(in Input) *networkingv1.Sidecar {
	mvm := in.MVM
	if !mvm.Spec.Mesh.Egress.IsSet() {
		return nil
	}
	s := &networkingv1.Sidecar{ObjectMeta: meta(mvm, mvm.Name)}
	s.SetGroupVersionKind(SidecarKind)
	s.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{Labels: guestSelector(mvm).MatchLabels}
	s.Spec.Egress = []*networkingv1alpha3.IstioEgressListener{{Hosts: egressHosts(in)}}
	if mode, ok := outboundModes[mvm.Spec.Mesh.Egress.Outbound]; ok {
		s.Spec.OutboundTrafficPolicy = &networkingv1alpha3.OutboundTrafficPolicy{Mode: mode}
	}
	return s
}

var outboundModes = map[v1alpha1.OutboundMode]networkingv1alpha3.OutboundTrafficPolicy_Mode{
	v1alpha1.OutboundModeRegistryOnly: networkingv1alpha3.OutboundTrafficPolicy_REGISTRY_ONLY,
	v1alpha1.OutboundModeAllowAny:     networkingv1alpha3.OutboundTrafficPolicy_ALLOW_ANY,
}

// egressHosts returns the services that the proxy knows. Without the entries of the root
// namespace, the proxy could not send traces to services there.
func egressHosts(in Input) []string {
	const all = "/*"
	e := in.MVM.Spec.Mesh.Egress
	if len(e.Hosts) == 0 {
		own, root := "."+all, cmp.Or(in.RootNamespace, meshpolicy.DefaultRootNamespace)+all
		return []string{own, root}
	}
	hosts := slices.Clone(e.Hosts)
	for _, s := range e.Services {
		for _, h := range s.Hosts {
			if entry := "./" + h; !coversHost(hosts, entry) {
				hosts = append(hosts, entry)
			}
		}
	}
	return hosts
}

// coversHost reports whether the list contains an entry or a wildcard for the own
// namespace that includes it.
func coversHost(hosts []string, entry string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		return h == entry || h == "./*" || h == "*/*" || strings.HasPrefix(h, "./*.") && strings.HasSuffix(entry, strings.TrimPrefix(h, "./*"))
	})
}

// serviceEntries builds the ServiceEntries of the external services. They are visible only
// in the namespace of the guest.
func serviceEntries(in Input) ([]Object, error) {
	var out []Object
	for _, x := range in.MVM.Spec.Mesh.Egress.Services {
		se := &networkingv1.ServiceEntry{ObjectMeta: meta(in.MVM, partName(in.MVM, x.Name))}
		se.SetGroupVersionKind(ServiceEntryKind)
		se.Spec.Hosts = slices.Clone(x.Hosts)
		se.Spec.Addresses = slices.Clone(x.Addresses)
		se.Spec.ExportTo = []string{"."}
		se.Spec.Location = networkingv1alpha3.ServiceEntry_MESH_EXTERNAL
		se.Spec.Resolution = networkingv1alpha3.ServiceEntry_DNS
		if x.Resolution == v1alpha1.ServiceResolutionNone {
			se.Spec.Resolution = networkingv1alpha3.ServiceEntry_NONE
		}
		for _, p := range x.Ports {
			se.Spec.Ports = append(se.Spec.Ports, &networkingv1alpha3.ServicePort{
				Number:   v1alpha1.IstioPort(p.Number),
				Name:     fmt.Sprintf("%s-%d", strings.ToLower(string(p.Protocol)), p.Number),
				Protocol: string(p.Protocol),
			})
		}
		out = append(out, se)
	}
	return out, nil
}
