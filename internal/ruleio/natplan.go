// SPDX-License-Identifier: Apache-2.0

package ruleio

// NATPlan specifies the NAT of one virt-launcher pod. It is the complete input of
// the rules: equal plans result in equal tables. It contains facts and
// decisions but no rules, so that users cannot pass rules to the privileged
// rule-writer.
type NATPlan struct {
	// PodInterface is the pod's primary interface, for example "eth0".
	PodInterface string `json:"podInterface"`
	// Bridge is the interface through which packets of the guest enter the
	// pod's network namespace, for example "k6t-eth0" (KubeVirt,
	// pkg/network/link/names.go). Rules match it by name because it may not
	// exist yet when they are written.
	Bridge string `json:"bridge"`
	// DataPlane is the kind of mesh proxy. Defaults to DataPlaneSidecar.
	DataPlane DataPlane `json:"dataPlane,omitempty"`
	// Families are the address families that the pod's mesh proxy carries, IPv4
	// before IPv6, with at most one entry per family.
	Families []Family `json:"families"`
	// Proxy specifies the ports of the mesh proxy in the pod.
	Proxy Proxy `json:"proxy"`
	// Inbound specifies how connections to the pod's address are handled.
	Inbound Inbound `json:"inbound"`
	// Outbound specifies how connections that the guest opens are handled.
	Outbound Outbound `json:"outbound"`
	// Unmeshed specifies how traffic of the guest that no mesh proxy carries is
	// handled. Defaults to UnmeshedAllow.
	Unmeshed Unmeshed `json:"unmeshed,omitempty"`
	// DNS specifies how the guest's DNS queries are handled. If nil, the rules
	// do not handle them separately.
	DNS *DNS `json:"dns,omitempty"`
	// Gate is set if the pod has a start gate.
	Gate *Gate `json:"gate,omitempty"`
}

// DataPlane is the kind of mesh proxy in front of the guest.
type DataPlane string

const (
	// DataPlaneSidecar is a proxy container in the pod.
	DataPlaneSidecar DataPlane = "Sidecar"
	// DataPlaneAmbient is Istio's ztunnel, a proxy on the node with sockets in the
	// pod's network namespace.
	DataPlaneAmbient DataPlane = "Ambient"
)

// DNS specifies how the guest's queries to UDP and TCP port 53 are handled.
type DNS struct {
	// Mode specifies the destination of the queries.
	Mode DNSMode `json:"mode"`
	// CapturePort is the loopback port of the proxy's resolver (15053 in Istio)
	// if Istio captures the pod's DNS, otherwise 0.
	CapturePort uint16 `json:"capturePort,omitempty"`
}

// DNSMode specifies the destination of DNS queries.
type DNSMode string

const (
	// DNSDirect leaves queries to the resolver that the guest addresses.
	DNSDirect DNSMode = "Direct"
	// DNSProxy redirects queries to the proxy's resolver. The guest receives
	// the answers from the address that it queried. It applies to IPv4 only:
	// Linux does not deliver packets from a link to ::1, so DNS over IPv6 is
	// unmeshed traffic.
	DNSProxy DNSMode = "Proxy"
)

// Unmeshed specifies how traffic that no mesh proxy carries is handled:
// protocols other than TCP, and all traffic of an address family that is not in
// NATPlan.Families.
type Unmeshed string

const (
	// UnmeshedAllow leaves the traffic unchanged.
	UnmeshedAllow Unmeshed = "Allow"
	// UnmeshedDrop drops the traffic in both directions, except for DNS, for
	// UDP ports in the plan, and for networks that are excluded from the mesh.
	UnmeshedDrop Unmeshed = "Drop"
)

// Family contains the addresses of one address family.
type Family struct {
	// Name is the nftables family: FamilyIPv4 or FamilyIPv6.
	Name string `json:"name"`
	// Guest is the address of the guest behind the masquerade binding, for
	// example "10.0.2.2" or "fd10:0:2::2".
	Guest string `json:"guest"`
	// Gateway is the address of the bridge on the link to the guest, for
	// example "10.0.2.1".
	Gateway string `json:"gateway"`
	// Pod is the address of the pod.
	Pod string `json:"pod"`
}

// Names of the address families in nftables (nft(8), ADDRESS FAMILIES).
const (
	FamilyIPv4 = "ip"
	FamilyIPv6 = "ip6"
)

// Proxy specifies the ports of the mesh proxy in the pod's network namespace.
type Proxy struct {
	// InboundPort receives redirected inbound TCP connections. Istio uses
	// 15006.
	InboundPort uint16 `json:"inboundPort"`
	// OutboundPort receives the guest's redirected TCP connections. Istio uses
	// 15001.
	OutboundPort uint16 `json:"outboundPort"`
	// LocalPorts are TCP ports on which the proxy itself listens, in ascending
	// order without duplicates. Connections to these ports never reach the
	// guest.
	LocalPorts []uint16 `json:"localPorts"`
}

// Inbound specifies how connections to the pod's address are handled. All lists
// are in ascending order, without duplicates or overlaps, and have no TCP port
// in common.
type Inbound struct {
	// Mesh are TCP ports whose connections pass through the proxy.
	Mesh []uint16 `json:"mesh,omitempty"`
	// DirectTCP are TCP ports whose connections reach the guest directly,
	// bypassing the proxy.
	DirectTCP []PortRange `json:"directTCP,omitempty"`
	// DirectUDP are open UDP ports of the guest. Proxies do not carry UDP.
	DirectUDP []PortRange `json:"directUDP,omitempty"`
}

// Outbound specifies which TCP connections of the guest bypass the proxy. All
// other connections pass through it.
type Outbound struct {
	// ExcludePorts are TCP destination ports in ascending order without
	// overlaps.
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
	// ExcludeUDP are UDP destination ports in the same format. Proxies do not
	// carry UDP. UnmeshedDrop does not drop packets to these ports.
	ExcludeUDP []PortRange `json:"excludeUDP,omitempty"`
	// ExcludeCIDRs are destination networks of both families in canonical form
	// (RFC 4632 and RFC 5952, without host bits), sorted by address, IPv4
	// before IPv6, without overlaps.
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`
	// IncludeCIDRs, in the same format, are the only destination networks whose
	// connections pass through the proxy. Defaults to all networks. If all
	// networks are of one family, no connection of the other family passes
	// through the proxy.
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
