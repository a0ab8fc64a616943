// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// unmeshedPlan returns a plan that drops unmeshed traffic and uses ranges.
func unmeshedPlan(families ...family) ruleio.NATPlan {
	p := planOf(families...)
	p.Unmeshed = ruleio.UnmeshedDrop
	p.Inbound.DirectUDP = []ruleio.PortRange{{First: udpPort - 10, Last: udpPort + 10}}
	p.Outbound.ExcludeUDP = []ruleio.PortRange{{First: udpPort - 1, Last: udpPort}}
	return p
}

// unmeshedFlow is a flow that no proxy carries.
type unmeshedFlow struct {
	probe
	allow, drop outcome
}

func unmeshedFlows() []unmeshedFlow {
	udp := func(from probe, name, host string, port uint16) probe {
		from.name, from.network, from.host, from.port = name, "udp4", host, port
		return from
	}
	guest, peer := probe{from: fromGuest}, probe{from: fromPeer}
	ping := probe{name: "guest pings outside", from: fromGuest, network: "icmp", host: outsideIP}
	pingGuest := probe{name: "client pings the pod's address, which KubeVirt hands to the guest", from: fromPeer, network: "icmp", host: podIP}
	out := directly(serverOutside, podIP)
	echo := directly("echo", "")
	return []unmeshedFlow{
		{udp(guest, "guest asks DNS", outsideIP, dnsPort), out, out},
		{udp(guest, "guest to NTP", outsideIP, ntpPort), out, noAnswer},
		{udp(guest, "guest to an excluded UDP port", outsideIP, udpPort), out, out},
		{udp(guest, "guest to NTP in an excluded network", excludedIP, ntpPort), out, out},
		{udp(peer, "client to a listed UDP port", podIP, udpPort), directly(serverGuest, peerIP), directly(serverGuest, peerIP)},
		{ping, echo, noAnswer},
		{pingGuest, echo, noAnswer},
	}
}

// TestUnmeshed sends unmeshed traffic with a variant of KubeVirt's rules that
// forwards everything.
func TestUnmeshed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(withoutList)
	l.startServers()
	allow := unmeshedPlan(ipv4)
	allow.Unmeshed = ruleio.UnmeshedAllow
	l.apply(allow)
	for _, f := range unmeshedFlows() {
		t.Run("allow, "+f.name, func(t *testing.T) { l.expect(t, f.probe, f.allow) })
	}
	l.apply(unmeshedPlan(ipv4))
	for _, f := range unmeshedFlows() {
		t.Run("drop, "+f.name, func(t *testing.T) { l.expect(t, f.probe, f.drop) })
	}
	meshed := steady(t, column{istioIptables, withoutList, []family{ipv4}})
	l.sendAll(t, "drop", slices.DeleteFunc(meshed, func(x cell) bool { return x.probe.port == ntpPort }))
	want := rulesOf(t, unmeshedPlan(ipv4))
	if n := nftrules.Totals(want, l.mustRead()); n.Dropped == 0 || n.Captured == 0 || n.Direct == 0 {
		t.Errorf("totals %+v, want all greater than zero", n)
	}
	if r := l.request(ruleio.OperationVerify, new(unmeshedPlan(ipv4))); r.Outcome != ruleio.OutcomeVerified || r.Counters.Dropped == 0 {
		t.Errorf("verified with %s (%s), counters %+v", r.Outcome, r.Message, r.Counters)
	}
	if r := l.request(ruleio.OperationVerify, new(plan())); r.Outcome != ruleio.OutcomeDrifted || r.Message == "" {
		t.Errorf("another plan verified with %s (%s)", r.Outcome, r.Message)
	}
}

// TestIncludedNetworks captures only some networks.
func TestIncludedNetworks(t *testing.T) {
	t.Parallel()
	p := plan()
	p.Outbound = ruleio.Outbound{IncludeCIDRs: []string{excludedCIDR}}
	for _, i := range []istio{istioIptables, istioNftables} {
		t.Run("Istio "+i.name, func(t *testing.T) {
			l := newLab(t)
			l.writeIstio(i)
			l.addGuest()
			l.writeKubeVirt(annotated)
			l.startServers()
			l.apply(p)
			for host, captured := range map[string]bool{excludedIP: true, outsideIP: false, "127.0.0.1": true} {
				c := probe{name: fmt.Sprintf("guest to %s", host), from: fromGuest, network: "tcp4", host: host, port: webPort}
				want := directly(serverOutside, podIP)
				switch {
				case host == "127.0.0.1":
					want = noAnswer // N10
				case captured:
					want = c.through("15001", serverOutside, podIP)
				}
				l.expect(t, c, want)
			}
		})
	}
}
