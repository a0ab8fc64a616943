// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"strconv"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// The rules of this file repair N10. A guest can route 127.0.0.0/8 to its gateway.
// KubeVirt sets route_localnet on the bridge, and a proxy connects to the original
// destination of a redirected connection, so that a guest would reach the ports of
// its proxy, such as Envoy's administration interface, on every local address
// of the pod: directly, or through the outbound port.

// priorityLocal is after connection tracking (-200) and Istio's mangle chains
// (-150), and before all translation: the rules see the destination that the guest
// addresses.
const priorityLocal = -120

// Names of the chains.
const (
	chainLocalPrerouting = "local_prerouting"
	chainLocalInput      = "local_input"
)

// Local services that a guest needs.
const (
	portDHCPServer   = 67  // RFC 2131
	portDHCPv6Server = 547 // RFC 9915
)

// addLocalSets adds the sets of destinations and ports that the rules look up.
func (b *builder) addLocalSets() {
	for _, f := range b.plan.Families {
		s := stackOf(f)
		b.add(s.never, s.addresses, s.neverNetworks)
		b.add(s.gateways, s.addresses, append([]string{f.Gateway}, s.linkLocal...))
	}
	tcp, udp := []uint16{b.plan.Proxy.OutboundPort}, []uint16{portDHCPServer, portDHCPv6Server}
	if d := b.plan.DNS; b.capturesDNS() {
		tcp, udp = append(tcp, d.CapturePort), append(udp, d.CapturePort)
	}
	b.add(SetGuestLocalTCP, nft.TypePort, sortedPorts(tcp))
	b.add(SetGuestLocalUDP, nft.TypePort, sortedPorts(udp))
}

func (b *builder) capturesDNS() bool { return b.plan.DNS != nil && b.plan.DNS.Mode == ruleio.DNSProxy }

// addressedLocally returns the rules for the guest's new connections, which
// match the address that the guest uses.
func (b *builder) addressedLocally(s stack, f ruleio.Family) []Rule {
	in := []nft.Match{{Field: nft.FieldInputInterface, Value: b.plan.Bridge}, isNew}
	drops := func(comment string, matches ...nft.Match) Rule {
		return Rule{
			Matches:   append(in[:2:2], matches...),
			Statement: drop,
			Total:     TotalDropped,
			Comment:   "N10: drop " + comment,
			Defects:   []Defect{DefectLocalPorts},
		}
	}
	notExposed := tcp
	if _, ok := b.sets[SetExposedTCP]; ok {
		notExposed = nft.Match{Field: nft.FieldTCPDestinationPort, Not: true, Set: SetExposedTCP}
	}
	toGateway := drops("TCP from guest to the gateway", lookup(s.destination, s.gateways), tcp)
	if b.capturesDNS() {
		toGateway = drops("TCP from guest to the gateway, except DNS", lookup(s.destination, s.gateways),
			nft.Match{Field: nft.FieldTCPDestinationPort, Not: true, Value: strconv.Itoa(portDNS)})
	}
	return b.keep(
		drops("packets from guest to loopback and unspecified addresses", lookup(s.destination, s.never)),
		toGateway,
		drops("TCP from guest to ports of the pod that are not exposed", nft.Match{Field: s.destination, Value: f.Pod}, notExposed),
	)
}

// deliveredLocally returns the rules for packets of the guest that are
// delivered to a process in the pod at any local address, after translation.
// They apply to both families. The UDP packets include broadcasts, so the
// counter of that rule is not part of a total.
func (b *builder) deliveredLocally() []Rule {
	in := []nft.Match{{Field: nft.FieldInputInterface, Value: b.plan.Bridge}, isNew}
	return b.keep(
		Rule{
			Matches:   append(in[:2:2], nft.Match{Field: nft.FieldTCPDestinationPort, Not: true, Set: SetGuestLocalTCP}),
			Statement: drop,
			Total:     TotalDropped,
			Comment:   "N10: drop TCP from guest to local ports, except ports that capture connections",
			Defects:   []Defect{DefectLocalPorts},
		},
		Rule{
			Matches:   append(in[:2:2], nft.Match{Field: nft.FieldUDPDestinationPort, Not: true, Set: SetGuestLocalUDP}),
			Statement: drop,
			Comment:   "N10: drop UDP from guest to local ports, except DHCP and captured DNS",
			Defects:   []Defect{DefectLocalPorts},
		},
	)
}
