// SPDX-License-Identifier: Apache-2.0

package ruleio

// Plan describes what the traffic of one virt-launcher pod has to do. It is the
// whole input of the rules: equal plans give equal tables. It holds facts and
// decisions only, never rule text, so that no user can hand rules to the
// privileged rule-writer.
type Plan struct {
	// PodInterface is the pod's primary interface, for example "eth0".
	PodInterface string `json:"podInterface"`
	// Bridge is the interface through which the guest's packets enter the
	// pod's network namespace, for example "k6t-eth0" (KubeVirt,
	// pkg/network/link/names.go). It may not exist yet when the rules are
	// written: they match it by name.
	Bridge string `json:"bridge"`
	// DataPlane is the kind of mesh proxy; empty means DataPlaneSidecar.
	DataPlane DataPlane `json:"dataPlane,omitempty"`
	// Families lists the address families that the mesh proxy of the pod
	// carries, IPv4 before IPv6, at most one entry for each.
	Families []Family `json:"families"`
	// Proxy describes the ports of the mesh proxy in the pod.
	Proxy Proxy `json:"proxy"`
	// Inbound describes what becomes of connections to the pod's address.
	Inbound Inbound `json:"inbound"`
	// Outbound describes what becomes of connections that the guest opens.
	Outbound Outbound `json:"outbound"`
	// Unmeshed describes what becomes of the guest's traffic that no mesh proxy
	// carries; empty means UnmeshedAllow.
	Unmeshed Unmeshed `json:"unmeshed,omitempty"`
	// DNS specifies which way the guest's DNS takes; nil leaves it to others.
	DNS *DNS `json:"dns,omitempty"`
	// Gate is set when a container of the pod waits for the table.
	Gate *Gate `json:"gate,omitempty"`
}

// DataPlane is the kind of mesh proxy in front of the guest.
type DataPlane string

const (
	// DataPlaneSidecar is a proxy of the pod's own, a container in it.
	DataPlaneSidecar DataPlane = "Sidecar"
	// DataPlaneAmbient is Istio's ztunnel, a proxy of the node that has its
	// sockets in the pod's network namespace.
	DataPlaneAmbient DataPlane = "Ambient"
)

// DNS specifies which way the guest's queries to UDP and TCP port 53 take.
type DNS struct {
	// Mode is the way.
	Mode DNSMode `json:"mode"`
	// CapturePort is the port on loopback of the proxy's resolver (Istio's
	// is 15053), when Istio's rules capture the pod's DNS; 0 when they do
	// not.
	CapturePort uint16 `json:"capturePort,omitempty"`
}

// DNSMode is a way for DNS.
type DNSMode string

const (
	// DNSDirect goes to the resolver that the guest asks.
	DNSDirect DNSMode = "Direct"
	// DNSProxy goes to the proxy's resolver; the guest sees the answers come
	// from the one it asked. It is for IPv4: Linux delivers nothing to ::1
	// that came in by a link, so that over IPv6 DNS is unmeshed traffic.
	DNSProxy DNSMode = "Proxy"
)

// Unmeshed describes what becomes of traffic that no mesh proxy carries: UDP, ICMP
// and all other protocols but TCP, and everything of an address family that is
// not in Plan.Families.
type Unmeshed string

const (
	// UnmeshedAllow leaves it alone.
	UnmeshedAllow Unmeshed = "Allow"
	// UnmeshedDrop drops it in both directions, but for DNS, for the UDP
	// ports that the plan lists, and for networks excluded from the mesh.
	UnmeshedDrop Unmeshed = "Drop"
)

// Family holds the addresses of one address family.
type Family struct {
	// Name is the nftables family: FamilyIPv4 or FamilyIPv6.
	Name string `json:"name"`
	// Guest is the guest's address behind the masquerade binding, for
	// example "10.0.2.2" or "fd10:0:2::2".
	Guest string `json:"guest"`
	// Gateway is the bridge's address on the guest's link, for example
	// "10.0.2.1".
	Gateway string `json:"gateway"`
	// Pod is the pod's own address.
	Pod string `json:"pod"`
}

// The nftables names of the address families (nft(8), ADDRESS FAMILIES).
const (
	FamilyIPv4 = "ip"
	FamilyIPv6 = "ip6"
)

// Proxy describes the mesh proxy that shares the pod's network namespace.
type Proxy struct {
	// InboundPort takes redirected inbound TCP; Istio's is 15006.
	InboundPort uint16 `json:"inboundPort"`
	// OutboundPort takes the guest's redirected TCP; Istio's is 15001.
	OutboundPort uint16 `json:"outboundPort"`
	// LocalPorts are TCP ports that the proxy itself serves and that must
	// never reach the guest, ascending and without duplicates.
	LocalPorts []uint16 `json:"localPorts"`
}

// Inbound describes what becomes of connections to the pod's address. All lists are
// ascending, without duplicates or overlaps, and share no TCP port.
type Inbound struct {
	// Mesh are TCP ports that go through the proxy.
	Mesh []uint16 `json:"mesh,omitempty"`
	// DirectTCP are TCP ports that go to the guest bypassing the proxy.
	DirectTCP []PortRange `json:"directTCP,omitempty"`
	// DirectUDP are UDP ports that go to the guest; a proxy cannot carry UDP.
	DirectUDP []PortRange `json:"directUDP,omitempty"`
}

// Outbound specifies which of the guest's own TCP connections bypass the proxy;
// all others go through it.
type Outbound struct {
	// ExcludePorts are TCP destination ports, ascending, no two overlapping.
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
	// ExcludeUDP are UDP destination ports in the same form. No proxy takes
	// UDP anyway: they are the ones that UnmeshedDrop spares.
	ExcludeUDP []PortRange `json:"excludeUDP,omitempty"`
	// ExcludeCIDRs are destination networks of both families in canonical
	// form (RFC 4632 and RFC 5952, host bits zero), sorted by address, IPv4
	// before IPv6, none inside another.
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`
	// IncludeCIDRs, in the same form, are the only destination networks that
	// go through the proxy; empty means all. If it has networks of one family
	// only, nothing of the other goes through the proxy.
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
