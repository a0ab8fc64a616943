// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
)

// The checks of this file are of PodNATConfigurations, which the operator writes.
// They repeat rules of the CRD and of package validate, because users who are
// allowed to can edit these objects.

func checkInterfaces(e *validate.Errors, in v1alpha1.PodInterfaces, path *field.Path) {
	for _, i := range []struct {
		path *field.Path
		name string
	}{{path.Child("pod"), in.Pod}, {path.Child("bridge"), in.Bridge}} {
		if !interfaceShape.MatchString(i.name) {
			e.Reject(v1alpha1.ReasonInvalidSpec, i.path, "invalid name %q of a network interface: must have 1 to 15 characters from A-Z, a-z, 0-9, '_', '.' and '-'", i.name)
		}
	}
	if in.Pod == in.Bridge {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("bridge"), "must differ from interfaces.pod")
	}
}

func checkProxy(e *validate.Errors, p v1alpha1.ProxyPorts, d v1alpha1.DataPlane, path *field.Path) {
	missing := func(port int32) {
		e.Reject(v1alpha1.ReasonReservedPort, path.Child("localPorts"), "must contain port %d of the mesh proxy", port)
	}
	for _, port := range []struct {
		path   *field.Path
		number int32
	}{{path.Child("inboundPort"), p.InboundPort}, {path.Child("outboundPort"), p.OutboundPort}} {
		e.PortNumber(port.number, port.path)
		if !slices.Contains(p.LocalPorts, port.number) {
			missing(port.number)
		}
	}
	if p.InboundPort == p.OutboundPort {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("inboundPort"), "must differ from outboundPort")
	}
	for i, port := range p.LocalPorts {
		e.PortNumber(port, path.Child("localPorts").Index(i))
	}
	for _, port := range localPorts(d) {
		if !slices.Contains(p.LocalPorts, port) && port != p.InboundPort && port != p.OutboundPort {
			missing(port)
		}
	}
}

func checkInbound(e *validate.Errors, spec v1alpha1.PodNATConfigurationSpec, path *field.Path) {
	tcp := map[int32]bool{}
	for _, list := range []struct {
		name  string
		ports []int32
	}{{"mesh", spec.Inbound.Mesh}, {"directTCP", spec.Inbound.DirectTCP}} {
		for i, p := range list.ports {
			at := path.Child(list.name).Index(i)
			e.PortNumber(p, at)
			if validate.IsReserved(p) || slices.Contains(spec.Proxy.LocalPorts, p) {
				e.RejectReserved(p, at)
			}
			if tcp[p] {
				e.Reject(v1alpha1.ReasonInvalidPort, at, "duplicate TCP port %d: list it once, in mesh or in directTCP", p)
			}
			tcp[p] = true
		}
	}
	udp := map[int32]bool{}
	for i, p := range spec.Inbound.DirectUDP {
		at := path.Child("directUDP").Index(i)
		e.PortNumber(p, at)
		if udp[p] {
			e.Reject(v1alpha1.ReasonInvalidPort, at, "duplicate UDP port %d: list it once", p)
		}
		udp[p] = true
	}
}

// checkProbedPorts rejects specs that would close a port that the kubelet probes.
// A running guest keeps its probes until it is restarted, even if they are removed
// from the template.
func checkProbedPorts(e *validate.Errors, spec v1alpha1.PodNATConfigurationSpec, path *field.Path) {
	for i, port := range spec.ProbedPorts {
		at := path.Index(i)
		e.PortNumber(port, at)
		if !opensTCP(spec.Inbound, port) {
			e.Reject(v1alpha1.ReasonInvalidPort, at,
				"TCP port %d must stay open, because the kubelet probes the running guest on it: keep it in ports or capture.inbound.excludePorts of the MeshedVirtualMachine until the guest is restarted without the probe", port)
		}
	}
}

// opensTCP reports whether connections to a TCP port reach the guest.
func opensTCP(in v1alpha1.InboundRules, port int32) bool {
	return slices.Contains(in.Mesh, port) || slices.Contains(in.DirectTCP, port) || validate.CoversTCP(in.ExcludePorts, port)
}
