// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestDNS sends queries to an outside resolver over UDP and TCP.
func TestDNS(t *testing.T) {
	eachDNS(t, []istio{istioIptables, istioNftables}, func(t *testing.T, c column) {
		t.Helper()
		l := c.newLab(t)
		l.serveUDPAsProxy(resolverPort)
		l.serveTCP(l.pod, "127.0.0.1", resolverPort, answer(serverProxy))
		l.expectDNS(t, c, plan())
		if c.istio.dns {
			l.sendAll(t, after, slices.DeleteFunc(steady(t, c), func(x cell) bool { return x.probe.port == dnsPort }))
		}
	})
}

// eachDNS runs a test with each implementation of Istio's rules and each
// variant of KubeVirt's rules, with and without Istio's DNS capture.
func eachDNS(t *testing.T, writers []istio, do func(*testing.T, column)) {
	t.Helper()
	for _, k := range kubevirts {
		for _, i := range writers {
			for _, captured := range []bool{false, true} {
				i.dns = captured
				name := "Istio " + i.name + ", KubeVirt " + k.name
				if captured {
					name += ", DNS capture"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					do(t, column{i, k, []family{ipv4}})
				})
			}
		}
	}
}

// expectDNS sends queries without a table, and with both DNS modes of the plan.
// The guest's socket is connected, so it accepts only answers from the queried
// resolver.
func (l *lab) expectDNS(t *testing.T, c column, p ruleio.NATPlan) {
	t.Helper()
	udp := probe{name: "guest asks over UDP", from: fromGuest, network: "udp4", host: outsideIP, port: dnsPort}
	tcp := probe{name: "guest asks over TCP", from: fromGuest, network: "tcp4", host: outsideIP, port: dnsPort}
	outside, resolver := directly(serverOutside, podIP), directly(serverProxy, guestIP)
	l.serveTCP(l.peer, outsideIP, dnsPort, answer(serverOutside))

	stock := outside
	if c.istio.dns && c.kubevirt.name != withoutList.name {
		// Without a list of ports, KubeVirt forwards all new packets to the
		// guest, including answers without a conntrack entry.
		stock = noAnswer
	}
	l.expect(t, udp, stock)
	l.expect(t, tcp, tcp.through("15001", serverOutside, podIP))

	p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect}
	if c.istio.dns {
		p.DNS.CapturePort = resolverPort
	}
	l.apply(p)
	l.expect(t, udp, outside)
	l.expect(t, tcp, outside)
	if !c.istio.dns {
		return
	}
	p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: resolverPort}
	l.apply(p)
	l.expect(t, udp, resolver)
	l.expect(t, tcp, resolver)
}

// serveUDPAsProxy answers on loopback as the proxy's user.
func (l *lab) serveUDPAsProxy(port int) {
	l.t.Helper()
	l.in(l.pod, func() error {
		return asUser(proxyUID, func() error {
			l.serveUDPHere("127.0.0.1", port, serverProxy)
			return nil
		})
	})
}
