// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

func (c *checker) capture(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	capture := mvm.Spec.Capture
	c.outbound(capture.Outbound, path.Child("outbound"))
	c.inboundRanges(capture.Inbound.ExcludePorts, meshPorts(mvm.Spec.Ports), path.Child("inbound", "excludePorts"))
	c.unmeshed(capture.Unmeshed, path.Child("unmeshed"))
	c.dns(mvm, path.Child("dns"))
}

// meshPorts are the guest's TCP ports that go through the proxy.
func meshPorts(ports []v1alpha1.Port) []int32 {
	var out []int32
	for _, p := range ports {
		if p.ProtocolOrDefault() == v1alpha1.PortProtocolTCP && p.RouteOrDefault() == v1alpha1.PortRouteMesh {
			out = append(out, p.TargetPortOrDefault())
		}
	}
	return out
}

func (c *checker) unmeshed(u v1alpha1.UnmeshedPolicy, path *field.Path) {
	switch u {
	case "", v1alpha1.UnmeshedPolicyAllow, v1alpha1.UnmeshedPolicyDrop:
	default:
		c.refuse(v1alpha1.ReasonInvalidSpec, path, "%q is neither Allow nor Drop", u)
	}
}

// inboundRanges refuses ranges that would take a port away from the proxy or
// from KubeVirt, and ports that would go both ways.
func (c *checker) inboundRanges(ranges []v1alpha1.PortRange, mesh []int32, path *field.Path) {
	for i, r := range ranges {
		at := path.Index(i)
		c.portRange(r, at)
		if r.ProtocolOrDefault() != v1alpha1.PortProtocolTCP {
			continue
		}
		if p, ok := firstIn(r, ReservedPorts); ok {
			c.refuse(v1alpha1.ReasonReservedPort, at, "%s", reservedMessage(p))
		}
		if p, ok := firstIn(r, mesh); ok {
			c.refuse(v1alpha1.ReasonInvalidPort, at,
				"covers port %d, which goes through the mesh: set its route to Direct, or leave it out of the range", p)
		}
	}
}

// firstIn is the first of the ports that the range has.
func firstIn(r v1alpha1.PortRange, ports []int32) (int32, bool) {
	for _, p := range ports {
		if r.Port <= p && p <= r.EndPortOrDefault() {
			return p, true
		}
	}
	return 0, false
}

func (c *checker) portRange(r v1alpha1.PortRange, path *field.Path) {
	if p := r.ProtocolOrDefault(); p != v1alpha1.PortProtocolTCP && p != v1alpha1.PortProtocolUDP {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("protocol"), "%q is neither TCP nor UDP", p)
	}
	c.portNumber(r.Port, path.Child("port"))
	switch end := r.EndPortOrDefault(); {
	case end < r.Port:
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("endPort"), "%d is less than port", end)
	case r.EndPort != 0:
		c.portNumber(end, path.Child("endPort"))
	}
}

func (c *checker) outbound(o v1alpha1.OutboundCapture, path *field.Path) {
	for i, r := range o.ExcludePorts {
		c.portRange(r, path.Child("excludePorts").Index(i))
	}
	for _, list := range []struct {
		name  string
		cidrs []string
	}{{"excludeCIDRs", o.ExcludeCIDRs}, {"includeCIDRs", o.IncludeCIDRs}} {
		for i, s := range list.cidrs {
			if _, err := parseCIDR(s); err != nil {
				c.refuse(v1alpha1.ReasonInvalidCIDR, path.Child(list.name).Index(i), "%s", err)
			}
		}
	}
}
