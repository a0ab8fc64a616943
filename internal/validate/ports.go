// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// MaxPort is the highest port number.
const MaxPort = 65535

// Ports on which Istio's proxies receive redirected connections (Istio,
// tools/istio-iptables/pkg/constants).
const (
	ProxyInboundPort  int32 = 15006
	ProxyOutboundPort int32 = 15001
)

// ProxyDNSPort is the port of the proxy's DNS resolver (Istio,
// pkg/config/constants, DefaultDNSProxyAddr).
const ProxyDNSPort int32 = 15053

// ProxyLocalPorts are the TCP ports on which Istio's sidecar itself listens, and
// which KubeVirt does not forward to the guest (KubeVirt,
// pkg/network/istio/ports.go): admin, outbound, debug, inbound, tunnel, secure
// network, merged telemetry, health, DNS and telemetry.
//
// These lists are the only ones of the operator. The CEL rules in
// api/v1alpha1/port_types.go repeat the numbers, because markers are constants.
// TestReservedPortsInTheCRD compares them.
var ProxyLocalPorts = []int32{15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090}

// AmbientLocalPorts are the TCP ports on which ztunnel listens in a pod of its
// node: outbound, inbound plain text, tunnel and DNS (ztunnel, src/config.rs).
// Guests cannot use the other ProxyLocalPorts either, so that the data plane of a
// guest can be changed.
var AmbientLocalPorts = []int32{15001, 15006, 15008, 15053}

// MigrationPorts are the TCP ports of KubeVirt's legacy live migration
// transport (KubeVirt, pkg/network/setup/netpod/masquerade).
var MigrationPorts = []int32{49152, 49153}

// GatePorts are the TCP ports of the start gate's containers.
var GatePorts = []int32{int32(ruleio.GatePort), int32(ruleio.GateAnswerPort)}

// ReservedPorts are the TCP ports that a guest cannot use: ProxyLocalPorts,
// GatePorts and MigrationPorts.
var ReservedPorts = slices.Concat(ProxyLocalPorts, GatePorts, MigrationPorts)

// IsReserved reports whether a guest cannot use the TCP port.
func IsReserved(port int32) bool { return slices.Contains(ReservedPorts, port) }

// RejectReserved adds the rejection of a field that contains a reserved port.
func (e *Errors) RejectReserved(port int32, path *field.Path) {
	owner := "the mesh proxy"
	switch {
	case slices.Contains(MigrationPorts, port):
		owner = "KubeVirt live migration"
	case slices.Contains(GatePorts, port):
		owner = "the start gate"
	}
	e.Reject(v1alpha1.ReasonReservedPort, path, "port %d is reserved for %s: use another port in the guest", port, owner)
}

// PortNumber rejects numbers outside 1 to MaxPort.
func (e *Errors) PortNumber(port int32, path *field.Path) {
	if port < 1 || port > MaxPort {
		e.Reject(v1alpha1.ReasonInvalidPort, path, "invalid port %d: must be between 1 and %d", port, MaxPort)
	}
}

// PortRange rejects ranges with an unknown protocol, with numbers outside 1 to
// MaxPort, or with an end before their beginning.
func (e *Errors) PortRange(r v1alpha1.PortRange, path *field.Path) {
	if p := r.ProtocolOrDefault(); p != v1alpha1.PortProtocolTCP && p != v1alpha1.PortProtocolUDP {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("protocol"), "invalid protocol %q: must be TCP or UDP", p)
	}
	e.PortNumber(r.Port, path.Child("port"))
	switch end := r.EndPortOrDefault(); {
	case end < r.Port:
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("endPort"), "invalid endPort %d: must be greater than or equal to port", end)
	case r.EndPort != 0:
		e.PortNumber(end, path.Child("endPort"))
	}
}

// CoversTCP reports whether one of the ranges contains the TCP port.
func CoversTCP(ranges []v1alpha1.PortRange, port int32) bool {
	return slices.ContainsFunc(ranges, func(r v1alpha1.PortRange) bool {
		return r.ProtocolOrDefault() == v1alpha1.PortProtocolTCP && contains(r, port)
	})
}

func contains(r v1alpha1.PortRange, port int32) bool {
	return r.Port <= port && port <= r.EndPortOrDefault()
}

// firstIn returns the first of the ports that the range contains.
func firstIn(r v1alpha1.PortRange, ports []int32) (int32, bool) {
	i := slices.IndexFunc(ports, func(p int32) bool { return contains(r, p) })
	if i < 0 {
		return 0, false
	}
	return ports[i], true
}
