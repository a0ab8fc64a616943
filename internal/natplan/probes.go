// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// probe is a TCP port at which the kubelet asks how the guest is. KubeVirt gives
// the guest's probes to the container that runs it (KubeVirt,
// pkg/virt-controller/services/rendercontainer.go). In sidecar mode Istio sends
// them to its agent's port 15020, one of ProxyLocalPorts, and the agent connects
// from inside the pod to this port of the pod's address (Istio, pkg/kube/inject,
// app_probe.go; pilot/cmd/pilot-agent/status); in ambient mode they come from the
// node. Either way the guest answers only at a port that is open.
type probe struct {
	path *field.Path
	// port is 0 when it is a name that no interface of the guest lists.
	port int32
}

// probesOf are those of a guest that go to the pod over the network.
func probesOf(spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) []probe {
	var all []probe
	add := func(host string, port intstr.IntOrString, at *field.Path) {
		if host == "" { // Another host is none of the pod's business.
			all = append(all, probe{path: at.Child("port"), port: portNamed(spec, port)})
		}
	}
	for _, p := range []struct {
		path  *field.Path
		probe *kubevirtv1.Probe
	}{{path.Child("readinessProbe"), spec.ReadinessProbe}, {path.Child("livenessProbe"), spec.LivenessProbe}} {
		if p.probe == nil {
			continue
		}
		if tcp := p.probe.TCPSocket; tcp != nil {
			add(tcp.Host, tcp.Port, p.path.Child("tcpSocket"))
		}
		if http := p.probe.HTTPGet; http != nil {
			add(http.Host, http.Port, p.path.Child("httpGet"))
		}
	}
	return all
}

// portNamed is the port's number: the kubelet looks a name up among the
// container's ports, which KubeVirt makes of the interfaces'.
func portNamed(spec *kubevirtv1.VirtualMachineInstanceSpec, port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, i := range spec.Domain.Devices.Interfaces {
		for _, p := range i.Ports {
			if p.Name == port.StrVal {
				return p.Port
			}
		}
	}
	return 0
}

// probedPorts are the ports of the probes of a running guest, ascending.
func probedPorts(spec *kubevirtv1.VirtualMachineInstanceSpec) []int32 {
	var ports []int32
	for _, p := range probesOf(spec, nil) {
		if p.port >= 1 && p.port <= maxPort {
			ports = append(ports, p.port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// isOpen reports whether connections to a TCP port reach the guest.
func isOpen(in v1alpha1.InboundRules, port int32) bool {
	return slices.Contains(in.Mesh, port) || slices.Contains(in.DirectTCP, port) ||
		slices.ContainsFunc(in.ExcludePorts, func(r v1alpha1.PortRange) bool {
			return r.ProtocolOrDefault() == v1alpha1.PortProtocolTCP && r.Port <= port && port <= r.EndPortOrDefault()
		})
}

// probes refuses a probe of a port that would be closed: the kubelet would then
// take the guest for dead.
func (c *checker) probes(mvm *v1alpha1.MeshedVirtualMachine, spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) {
	open := inboundRules(mvm.Spec.Ports, mvm.Spec.Capture.Inbound.ExcludePorts)
	for _, p := range probesOf(spec, path) {
		switch {
		case p.port == 0:
			c.refuse(v1alpha1.ReasonInvalidPort, p.path, "is a name that no port of the guest's interfaces has: give the port's number")
		case !isOpen(open, p.port):
			c.refuse(v1alpha1.ReasonInvalidPort, p.path,
				"probes a TCP port that neither spec.ports nor spec.capture.inbound.excludePorts lists, so that it is closed: list port %d", p.port)
		}
	}
}

// probed refuses a plan that would cut off a probe of the running guest, which
// it keeps until it is restarted, whatever the template reports by now.
func (c *checker) probed(spec v1alpha1.PodNATConfigurationSpec, path *field.Path) {
	for i, port := range spec.ProbedPorts {
		at := path.Index(i)
		c.portNumber(port, at)
		if !isOpen(spec.Inbound, port) {
			c.refuse(v1alpha1.ReasonInvalidPort, at,
				"the kubelet probes the running guest at TCP port %d, which would be closed: list the port in ports or capture.inbound.excludePorts of the MeshedVirtualMachine until the guest was restarted without that probe", port)
		}
	}
}
