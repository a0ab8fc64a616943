// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestIPv6WithIPv4Mesh sends IPv6 traffic through a dual-stack pod whose
// mesh carries only IPv4.
func TestIPv6WithIPv4Mesh(t *testing.T) {
	t.Parallel()
	l := newLab(t, ipv4, ipv6)
	l.writeIstio(istio{name: "iptables", ipv4Only: true})
	l.addGuest()
	l.writeKubeVirt(withoutList)
	l.startServers()
	inwards := func(network string, port uint16) probe {
		return probe{name: fmt.Sprintf("client to %s port %d", network, port), from: fromPeer, network: network, host: ipv6.pod, port: port}
	}
	outwards := func(network string, port uint16) probe {
		return probe{name: fmt.Sprintf("guest to %s port %d", network, port), from: fromGuest, network: network, host: ipv6.outside, port: port}
	}
	guest, outside := directly(serverGuest, ipv6.peer), directly(serverOutside, ipv6.pod)
	rows := []struct {
		probe
		stock, allow, drop outcome
	}{
		{inwards("tcp6", sshPort), guest, guest, noAnswer},
		{inwards("tcp6", meshPort), guest, noAnswer, noAnswer},
		{inwards("tcp6", closedPort), guest, noAnswer, noAnswer},
		{inwards("udp6", udpPort), guest, guest, noAnswer},
		{outwards("tcp6", webPort), outside, outside, noAnswer},
		{outwards("udp6", ntpPort), outside, outside, noAnswer},
	}
	for _, r := range rows {
		t.Run("stock, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.stock) })
	}
	l.apply(plan())
	for _, r := range rows {
		t.Run("allow, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.allow) })
	}
	p := plan()
	p.Unmeshed = ruleio.UnmeshedDrop
	l.apply(p)
	for _, r := range rows {
		t.Run("drop, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.drop) })
	}
}
