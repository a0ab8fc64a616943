// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestDNSOverIPv6 sends DNS queries over both families in a dual-stack pod
// whose DNS mode is Proxy. Queries over IPv6 cannot reach the proxy's resolver.
func TestDNSOverIPv6(t *testing.T) {
	t.Parallel()
	for _, i := range []istio{istioIptables, istioNftables} {
		t.Run("Istio "+i.name, func(t *testing.T) {
			i.dns = true
			l := newLab(t, ipv4, ipv6)
			l.writeIstio(i)
			l.addGuest()
			l.writeKubeVirt(annotated)
			l.startServers()
			for _, f := range l.families {
				l.serveTCP(l.peer, f.outside, dnsPort, answer(serverOutside))
			}
			l.serveUDPAsProxy(resolverPort)
			ask := func(f family, network string) probe {
				return probe{name: "guest asks over " + f.name, from: fromGuest, network: network + f.number, host: f.outside, port: dnsPort}
			}
			outside := directly(serverOutside, ipv6.pod)
			p := planOf(ipv4, ipv6)
			p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: resolverPort}
			l.apply(p)
			l.expect(t, ask(ipv4, "udp"), directly(serverProxy, ipv4.guest))
			l.expect(t, ask(ipv6, "udp"), outside)
			l.expect(t, ask(ipv6, "tcp"), outside)
			p.Unmeshed = ruleio.UnmeshedDrop
			l.apply(p)
			l.expect(t, ask(ipv6, "udp"), noAnswer)
			l.expect(t, ask(ipv6, "tcp"), noAnswer)
		})
	}
}
