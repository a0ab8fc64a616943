// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"errors"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// ErrNoPodAddress means that the pod has no address yet.
var ErrNoPodAddress = errors.New("the pod has no address yet")

// interfaceShape is that of the CRD; IFNAMSIZ leaves 15 characters.
var interfaceShape = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// Plan turns a NAT configuration into the plan for the rule-writer: checked,
// sorted, without duplicates. It refuses what would take a port away from the
// proxy, because that would cut the pod off from the mesh, and what would close
// a port that the kubelet probes.
func Plan(spec v1alpha1.PodNATConfigurationSpec, podIPs []string) (*ruleio.NATPlan, error) {
	path := field.NewPath("spec")
	c := &checker{}
	c.interfaces(spec.Interfaces, path.Child("interfaces"))
	c.proxy(spec.Proxy, spec.DataPlane, path.Child("proxy"))
	c.inbound(spec, path.Child("inbound"))
	c.inboundRanges(spec.Inbound.ExcludePorts, slices.Concat(spec.Inbound.Mesh, spec.Proxy.LocalPorts), path.Child("inbound", "excludePorts"))
	c.probed(spec, path.Child("probedPorts"))
	c.unmeshed(spec.Unmeshed, path.Child("unmeshed"))
	outbound, err := normaliseOutbound(spec.Outbound, path.Child("outbound"))
	c.add(err)
	planned, err := planFamilies(spec.Families, podIPs, path.Child("families"))
	c.add(err)
	dns, err := planDNS(spec, planned, path)
	c.add(err)
	gate, err := planGate(spec.Gate, path.Child("gate"))
	c.add(err)
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return &ruleio.NATPlan{
		PodInterface: spec.Interfaces.Pod,
		DataPlane:    dataPlane(spec.DataPlane),
		Bridge:       spec.Interfaces.Bridge,
		Families:     planned,
		Proxy: ruleio.Proxy{
			InboundPort:  uint16(spec.Proxy.InboundPort),  //nolint:gosec // c.proxy has checked the range.
			OutboundPort: uint16(spec.Proxy.OutboundPort), //nolint:gosec // c.proxy has checked the range.
			LocalPorts:   portList(spec.Proxy.LocalPorts),
		},
		Inbound: ruleio.Inbound{
			Mesh:      portList(spec.Inbound.Mesh),
			DirectTCP: direct(spec.Inbound.DirectTCP, spec.Inbound.ExcludePorts, v1alpha1.PortProtocolTCP),
			DirectUDP: direct(spec.Inbound.DirectUDP, spec.Inbound.ExcludePorts, v1alpha1.PortProtocolUDP),
		},
		Outbound: ruleio.Outbound{
			ExcludePorts: rangesOf(outbound.ExcludePorts, v1alpha1.PortProtocolTCP),
			ExcludeUDP:   rangesOf(outbound.ExcludePorts, v1alpha1.PortProtocolUDP),
			ExcludeCIDRs: outbound.ExcludeCIDRs,
			IncludeCIDRs: outbound.IncludeCIDRs,
		},
		Unmeshed: unmeshed(spec.Unmeshed),
		DNS:      dns,
		Gate:     gate,
	}, nil
}

// unmeshed leaves out the default, so that equal wishes give equal plans.
func unmeshed(u v1alpha1.UnmeshedPolicy) ruleio.Unmeshed {
	if u == v1alpha1.UnmeshedPolicyDrop {
		return ruleio.UnmeshedDrop
	}
	return ""
}

// direct are the ports of a protocol that go to the guest bypassing the proxy.
func direct(ports []int32, excluded []v1alpha1.PortRange, protocol v1alpha1.PortProtocol) []ruleio.PortRange {
	return ruleio.Union(ruleio.Ports(portList(ports)...), rangesOf(excluded, protocol))
}

// portList is the list ascending, without duplicates and without what is no
// port; nil when empty.
func portList(ports []int32) []uint16 {
	var out []uint16
	for _, p := range ports {
		if p >= 1 && p <= maxPort {
			out = append(out, uint16(p))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *checker) interfaces(in v1alpha1.PodInterfaces, path *field.Path) {
	for _, i := range []struct {
		path *field.Path
		name string
	}{{path.Child("pod"), in.Pod}, {path.Child("bridge"), in.Bridge}} {
		if !interfaceShape.MatchString(i.name) {
			c.refuse(v1alpha1.ReasonInvalidSpec, i.path, "%q is no name of a network interface", i.name)
		}
	}
	if in.Pod == in.Bridge {
		c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("bridge"), "the bridge and the pod's interface must be two interfaces")
	}
}

func (c *checker) proxy(p v1alpha1.ProxyPorts, d v1alpha1.DataPlane, path *field.Path) {
	for _, port := range []struct {
		path   *field.Path
		number int32
	}{{path.Child("inboundPort"), p.InboundPort}, {path.Child("outboundPort"), p.OutboundPort}} {
		c.portNumber(port.number, port.path)
		if !slices.Contains(p.LocalPorts, port.number) {
			c.refuse(v1alpha1.ReasonReservedPort, path.Child("localPorts"), "must hold the proxy's own port %d", port.number)
		}
	}
	if p.InboundPort == p.OutboundPort {
		c.refuse(v1alpha1.ReasonInvalidPort, path.Child("inboundPort"), "must differ from outboundPort")
	}
	for i, port := range p.LocalPorts {
		c.portNumber(port, path.Child("localPorts").Index(i))
	}
	for _, port := range localPorts(d) {
		if !slices.Contains(p.LocalPorts, port) && port != p.InboundPort && port != p.OutboundPort {
			c.refuse(v1alpha1.ReasonReservedPort, path.Child("localPorts"), "must hold the proxy's own port %d", port)
		}
	}
}

func (c *checker) portNumber(port int32, path *field.Path) {
	if port < 1 || port > maxPort {
		c.refuse(v1alpha1.ReasonInvalidPort, path, "%d is no port: choose one from 1 to %d", port, maxPort)
	}
}

func (c *checker) inbound(spec v1alpha1.PodNATConfigurationSpec, path *field.Path) {
	tcp := map[int32]bool{}
	for _, list := range []struct {
		name  string
		ports []int32
	}{{"mesh", spec.Inbound.Mesh}, {"directTCP", spec.Inbound.DirectTCP}} {
		for i, p := range list.ports {
			at := path.Child(list.name).Index(i)
			c.portNumber(p, at)
			if isReserved(p) || slices.Contains(spec.Proxy.LocalPorts, p) {
				c.refuse(v1alpha1.ReasonReservedPort, at, "%s", reservedMessage(p))
			}
			if tcp[p] {
				c.refuse(v1alpha1.ReasonInvalidPort, at, "TCP port %d is listed twice: list it once, in mesh or in directTCP", p)
			}
			tcp[p] = true
		}
	}
	udp := map[int32]bool{}
	for i, p := range spec.Inbound.DirectUDP {
		at := path.Child("directUDP").Index(i)
		c.portNumber(p, at)
		if udp[p] {
			c.refuse(v1alpha1.ReasonInvalidPort, at, "UDP port %d is listed twice", p)
		}
		udp[p] = true
	}
}
