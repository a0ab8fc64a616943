// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// probe is a readiness or liveness probe of the guest over TCP. KubeVirt copies
// the guest's probes to the container that runs it (KubeVirt,
// pkg/virt-controller/services/rendercontainer.go). In sidecar mode Istio
// redirects the kubelet to its agent's port 15020, one of ProxyLocalPorts, and the
// agent connects from inside the pod to the port of the pod's address (Istio,
// pkg/kube/inject, app_probe.go; pilot/cmd/pilot-agent/status). In ambient mode
// the kubelet connects from the node. In both modes the guest answers only on an
// open port.
type probe struct {
	path *field.Path
	// port is 0 if it is a name that no interface of the guest lists.
	port int32
	// http is set for an HTTP request. Otherwise the probe only connects.
	http bool
}

// templateSpecPath is the path of the guest's spec.
var templateSpecPath = field.NewPath("spec", "virtualMachine", "template", "spec")

// probesOf returns the probes of a guest that connect to the pod.
func probesOf(spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) []probe {
	var all []probe
	add := func(host string, port intstr.IntOrString, http bool, at *field.Path) {
		if host == "" { // Probes of other hosts do not enter the pod.
			all = append(all, probe{path: at.Child("port"), port: portNamed(spec, port), http: http})
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
			add(tcp.Host, tcp.Port, false, p.path.Child("tcpSocket"))
		}
		if http := p.probe.HTTPGet; http != nil {
			add(http.Host, http.Port, true, p.path.Child("httpGet"))
		}
	}
	return all
}

// portNamed returns the number of a port, 0 for an unknown name. The kubelet looks
// up names among the ports of the container, which KubeVirt derives from the ports
// of the interfaces.
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

// ProbedPorts returns the TCP ports of the guest that the kubelet probes, in
// ascending order without duplicates.
func ProbedPorts(spec *kubevirtv1.VirtualMachineInstanceSpec) []int32 {
	var ports []int32
	for _, p := range probesOf(spec, nil) {
		if p.port >= 1 && p.port <= MaxPort {
			ports = append(ports, p.port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// probes rejects probes of closed ports, because the kubelet would consider the
// guest not ready or restart it.
func (e *Errors) probes(mvm *v1alpha1.MeshedVirtualMachine, spec *kubevirtv1.VirtualMachineInstanceSpec, path *field.Path) {
	for _, p := range probesOf(spec, path) {
		switch {
		case p.port == 0:
			e.Reject(v1alpha1.ReasonInvalidPort, p.path, "no port of the guest's interfaces has this name: use the number of the port")
		case !opensTCP(mvm.Spec, p.port):
			e.Reject(v1alpha1.ReasonInvalidPort, p.path,
				"TCP port %d is closed: add it to spec.ports or spec.capture.inbound.excludePorts, or remove the probe", p.port)
		}
	}
}

// opensTCP reports whether connections to a TCP port reach the guest.
func opensTCP(spec v1alpha1.MeshedVirtualMachineSpec, port int32) bool {
	return CoversTCP(spec.Capture.Inbound.ExcludePorts, port) || slices.ContainsFunc(spec.Ports, func(p v1alpha1.Port) bool {
		return p.ProtocolOrDefault() != v1alpha1.PortProtocolUDP && p.TargetPortOrDefault() == port
	})
}
