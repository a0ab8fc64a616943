// SPDX-License-Identifier: Apache-2.0

package nftrules

// Defect names a defect of the rules that KubeVirt and Istio write for a
// virtual machine; docs/packet-path.md describes them.
type Defect string

// Defects.
const (
	// DefectOutboundExclusions: Istio's outbound exclusions live in the
	// output hook, which the guest's packets never pass.
	DefectOutboundExclusions Defect = "N1"
	// DefectInboundExclusions: Istio lets an excluded inbound port through,
	// but KubeVirt forwards none but 22 to the guest.
	DefectInboundExclusions Defect = "N2"
	// DefectInboundUDP: KubeVirt forwards no UDP once injection is on.
	DefectInboundUDP Defect = "N3"
	// DefectDNS: Istio's DNS capture puts the answers to the guest's queries
	// into another conntrack zone than the queries.
	DefectDNS Defect = "N4"
	// DefectInjection: without the VMI annotation KubeVirt takes inbound
	// connections, and the proxy's own ports, away from the proxy.
	DefectInjection Defect = "N5"
	// DefectAmbient: the guest answers to ztunnel's client, bypassing ztunnel, so
	// that no connection to the guest completes.
	DefectAmbient Defect = "N6"
	// DefectIPv6: KubeVirt's rules for IPv6 know neither the pod's address
	// nor that of the proxy's upstream leg.
	DefectIPv6 Defect = "N7"
	// DefectClosedPorts: a port that is not listed reaches the guest, past
	// the proxy, when KubeVirt forwards everything.
	DefectClosedPorts Defect = "closed"
)

// Summary describes in one line what is broken without the repair.
func (r Defect) Summary() string {
	switch r {
	case DefectOutboundExclusions:
		return "outbound exclusions never apply to the guest's traffic"
	case DefectInboundExclusions:
		return "an excluded inbound port is refused instead of bypassing the proxy"
	case DefectInboundUDP:
		return "inbound UDP is dead once injection is on"
	case DefectDNS:
		return "Istio's DNS capture kills the guest's DNS"
	case DefectInjection:
		return "injection without the VMI annotation bypasses the mesh inbound, and the proxy's own ports go to the guest"
	case DefectAmbient:
		return "in ambient mode connections to the guest never complete"
	case DefectIPv6:
		return "over IPv6 the proxy cannot hand connections on to the guest"
	case DefectClosedPorts:
		return "a port that is not listed reaches the guest when KubeVirt has no port list"
	default:
		return ""
	}
}
