// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"fmt"
	"slices"

	"meshvm.io/meshvm/internal/ruleio"
)

// Ports on which Istio's sidecar takes redirected connections (Istio,
// tools/istio-iptables/pkg/constants).
const (
	ProxyInboundPort  int32 = 15006
	ProxyOutboundPort int32 = 15001
)

// ProxyLocalPorts are the TCP ports that Istio's sidecar serves itself, and
// that KubeVirt keeps away from the guest (KubeVirt, pkg/network/istio/ports.go):
// admin, outbound, debug, inbound, tunnel, secure network, merged telemetry,
// health, DNS and telemetry.
var ProxyLocalPorts = []int32{15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090}

// MigrationPorts are the TCP ports of KubeVirt's legacy live migration
// transport (KubeVirt, pkg/network/setup/netpod/masquerade).
var MigrationPorts = []int32{49152, 49153}

// GatePorts are the TCP ports of the container that delays the guest.
var GatePorts = []int32{int32(ruleio.GatePort), int32(ruleio.GateAnswerPort)}

// ReservedPorts are the TCP ports that a guest cannot offer: ProxyLocalPorts,
// GatePorts and MigrationPorts.
var ReservedPorts = slices.Concat(ProxyLocalPorts, GatePorts, MigrationPorts)

const maxPort = 65535

func isReserved(port int32) bool { return slices.Contains(ReservedPorts, port) }

// reservedMessage reports whose port it is and what to do about it.
func reservedMessage(port int32) string {
	owner := "the mesh proxy"
	switch {
	case slices.Contains(MigrationPorts, port):
		owner = "KubeVirt's live migration"
	case slices.Contains(GatePorts, port):
		owner = "the start gate"
	}
	return fmt.Sprintf("port %d belongs to %s: let the guest listen on another port", port, owner)
}
