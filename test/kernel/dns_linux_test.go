package kernel

import (
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// dnsPlan sends the guest's DNS one way.
func dnsPlan(mode ruleio.DNSMode, captured bool) ruleio.Plan {
	p := plan()
	p.DNS = &ruleio.DNS{Mode: mode}
	if captured {
		p.DNS.CapturePort = resolverPort
	}
	return p
}

// TestDNS asks a resolver outside over UDP and TCP. The guest's socket is
// connected, so that only an answer from the resolver that it asked counts.
func TestDNS(t *testing.T) {
	udp := probe{name: "guest asks over UDP", from: fromGuest, network: "udp4", host: outsideIP, port: dnsPort}
	tcp := probe{name: "guest asks over TCP", from: fromGuest, network: "tcp4", host: outsideIP, port: dnsPort}
	outside := directly(serverOutside, podIP)
	resolver := directly(serverProxy, guestIP)
	for _, k := range kubevirts {
		for _, i := range []istio{istioIptables, istioNftables} {
			for _, captured := range []bool{false, true} {
				name := "Istio " + i.name + ", KubeVirt " + k.name
				if captured {
					name += ", DNS capture"
				}
				t.Run(name, func(t *testing.T) {
					i := i
					i.dns = captured
					l := newLab(t)
					l.writeIstio(i)
					l.addGuest()
					l.writeKubeVirt(k)
					l.startServers()
					l.serveTCP(l.peer, outsideIP, dnsPort, answer(serverOutside))
					l.serveUDPAsProxy(resolverPort)
					l.serveTCP(l.pod, "127.0.0.1", resolverPort, answer(serverProxy))

					stock := outside
					if captured && k.name != withoutList.name {
						// Without a port list KubeVirt sends all that is new
						// to the guest, even answers that it does not know.
						stock = noAnswer
					}
					l.expect(t, udp, stock)
					l.expect(t, tcp, tcp.through("15001", serverOutside, podIP))

					l.apply(dnsPlan(ruleio.DNSDirect, captured))
					l.expect(t, udp, outside)
					l.expect(t, tcp, outside)
					if !captured {
						return
					}
					l.apply(dnsPlan(ruleio.DNSProxy, captured))
					l.expect(t, udp, resolver)
					l.expect(t, tcp, resolver)
					others := steady(t, column{i, k, []family{ipv4}})
					l.sendAll(t, after, slices.DeleteFunc(others, func(x cell) bool { return x.probe.port == dnsPort }))
				})
			}
		}
	}
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
