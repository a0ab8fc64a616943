// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestDNS asks a resolver outside over UDP and TCP.
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

// eachDNS runs a test with each writer of Istio's rules and each of KubeVirt's
// variants, with Istio's DNS capture and without.
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

// expectDNS asks before there is a table, and with the plan's DNS in both modes.
// The guest's socket is connected, so that only an answer from the resolver that
// it asked counts.
func (l *lab) expectDNS(t *testing.T, c column, p ruleio.NATPlan) {
	t.Helper()
	udp := probe{name: "guest asks over UDP", from: fromGuest, network: "udp4", host: outsideIP, port: dnsPort}
	tcp := probe{name: "guest asks over TCP", from: fromGuest, network: "tcp4", host: outsideIP, port: dnsPort}
	outside, resolver := directly(serverOutside, podIP), directly(serverProxy, guestIP)
	l.serveTCP(l.peer, outsideIP, dnsPort, answer(serverOutside))

	stock := outside
	if c.istio.dns && c.kubevirt.name != withoutList.name {
		// Without a port list KubeVirt sends all that is new to the guest, even
		// answers that it does not know.
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
