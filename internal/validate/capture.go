// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

func (e *Errors) capture(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	capture := mvm.Spec.Capture
	e.Outbound(v1alpha1.OutboundRules(capture.Outbound), path.Child("outbound"))
	e.InboundRanges(capture.Inbound.ExcludePorts, meshPorts(mvm.Spec.Ports), path.Child("inbound", "excludePorts"))
	e.Unmeshed(capture.Unmeshed, path.Child("unmeshed"))
	e.dns(mvm, path.Child("dns"))
}

// meshPorts returns the guest's TCP ports whose connections pass through the
// proxy.
func meshPorts(ports []v1alpha1.Port) []int32 {
	var out []int32
	for _, p := range ports {
		if p.IsMeshed() {
			out = append(out, p.TargetPortOrDefault())
		}
	}
	return out
}

// Unmeshed rejects unknown policies.
func (e *Errors) Unmeshed(u v1alpha1.UnmeshedPolicy, path *field.Path) {
	switch u {
	case "", v1alpha1.UnmeshedPolicyAllow, v1alpha1.UnmeshedPolicyDrop:
	default:
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "invalid policy %q: must be Allow or Drop", u)
	}
}

// InboundRanges rejects invalid ranges, and TCP ranges that contain a reserved
// port or one of the ports whose connections pass through the proxy.
func (e *Errors) InboundRanges(ranges []v1alpha1.PortRange, mesh []int32, path *field.Path) {
	for i, r := range ranges {
		at := path.Index(i)
		e.PortRange(r, at)
		if r.ProtocolOrDefault() != v1alpha1.PortProtocolTCP {
			continue
		}
		if p, ok := firstIn(r, ReservedPorts); ok {
			e.RejectReserved(p, at)
		}
		if p, ok := firstIn(r, mesh); ok {
			e.Reject(v1alpha1.ReasonInvalidPort, at,
				"the range contains port %d, which is via Mesh: set via of the port to Direct, or remove it from the range", p)
		}
	}
}

// Outbound rejects invalid ranges and networks.
func (e *Errors) Outbound(o v1alpha1.OutboundRules, path *field.Path) {
	for i, r := range o.ExcludePorts {
		e.PortRange(r, path.Child("excludePorts").Index(i))
	}
	for _, list := range []struct {
		name  string
		cidrs []string
	}{{"excludeCIDRs", o.ExcludeCIDRs}, {"includeCIDRs", o.IncludeCIDRs}} {
		for i, s := range list.cidrs {
			if _, err := ParseCIDR(s); err != nil {
				e.Reject(v1alpha1.ReasonInvalidCIDR, path.Child(list.name).Index(i), "%s", err)
			}
		}
	}
}

// dns rejects unknown policies.
func (e *Errors) dns(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	if d := mvm.Spec.Capture.DNS; d != "" && d != v1alpha1.DNSPolicyDirect && d != v1alpha1.DNSPolicyProxy {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "invalid policy %q: must be Direct or Proxy", d)
	}
}
