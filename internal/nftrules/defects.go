// SPDX-License-Identifier: Apache-2.0

package nftrules

// Defect identifies a defect of the rules that KubeVirt and Istio write for a
// virtual machine. docs/packet-path.md describes the defects.
type Defect string

// Defects.
const (
	// DefectOutboundExclusions: Istio's outbound exclusions are in the output
	// hook, which packets of the guest do not traverse.
	DefectOutboundExclusions Defect = "N1"
	// DefectInboundExclusions: Istio accepts an excluded inbound port, but
	// KubeVirt forwards only port 22 to the guest.
	DefectInboundExclusions Defect = "N2"
	// DefectInboundUDP: with sidecar injection, KubeVirt does not forward UDP.
	DefectInboundUDP Defect = "N3"
	// DefectDNS: Istio's DNS capture assigns different conntrack zones to the
	// guest's queries and to their answers.
	DefectDNS Defect = "N4"
	// DefectInjection: without the annotation of the VMI, KubeVirt redirects
	// inbound connections and connections to the proxy's ports to the guest.
	DefectInjection Defect = "N5"
	// DefectAmbient: the guest answers to ztunnel's client directly instead of
	// to ztunnel, so no connection to the guest can be established.
	DefectAmbient Defect = "N6"
	// DefectIPv6: KubeVirt's rules for IPv6 match neither the pod's address nor
	// the address of the proxy's upstream connections.
	DefectIPv6 Defect = "N7"
	// DefectLocalPorts: a guest reaches the ports of its proxy on local
	// addresses of the pod.
	DefectLocalPorts Defect = "N10"
	// DefectClosedPorts: if KubeVirt forwards all ports, connections to
	// unlisted ports reach the guest without passing through the mesh.
	DefectClosedPorts Defect = "closed"
)

// Summary returns a one-line description of the defect.
func (r Defect) Summary() string {
	switch r {
	case DefectOutboundExclusions:
		return "outbound exclusions do not apply to the guest's traffic"
	case DefectInboundExclusions:
		return "connections to an excluded inbound port are refused instead of bypassing the proxy"
	case DefectInboundUDP:
		return "with injection, inbound UDP is not forwarded to the guest"
	case DefectDNS:
		return "Istio's DNS capture breaks the guest's DNS"
	case DefectInjection:
		return "without the VMI annotation, inbound connections bypass the mesh, and the proxy's ports are forwarded to the guest"
	case DefectAmbient:
		return "in ambient mode, connections to the guest are never established"
	case DefectIPv6:
		return "over IPv6, the proxy cannot connect to the guest"
	case DefectLocalPorts:
		return "a guest reaches its own proxy's administration interface and other local ports of the pod"
	case DefectClosedPorts:
		return "connections to unlisted ports reach the guest if KubeVirt does not have a list of ports"
	default:
		return ""
	}
}
