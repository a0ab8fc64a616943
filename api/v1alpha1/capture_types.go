// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CaptureSpec says which traffic the NAT in the pod sends past the mesh, and
// what it drops. A port of the guest that neither ports nor
// inbound.excludePorts lists is closed.
//
// +kubebuilder:validation:MinProperties=1
type CaptureSpec struct {
	// inbound is about connections to the guest.
	//
	// +optional
	Inbound InboundCapture `json:"inbound,omitzero"`

	// outbound is about connections that the guest opens.
	//
	// +optional
	Outbound OutboundCapture `json:"outbound,omitzero"`

	// unmeshed says what becomes of traffic that the mesh cannot carry: UDP,
	// ICMP and all protocols but TCP, an address family that the pod's proxy
	// does not carry, and DNS over IPv6 with dns: Proxy. Allow leaves it alone, which
	// is also what happens when it is left out. Drop drops it in both
	// directions, but for DNS, for UDP ports that ports or an exclusion
	// lists, and for networks in outbound.excludeCIDRs.
	//
	// +optional
	Unmeshed UnmeshedPolicy `json:"unmeshed,omitempty"`

	// dns says which way the guest's DNS, UDP and TCP port 53, takes. Direct
	// goes to the resolver that the guest asks, past the proxy, which is also
	// what happens when it is left out. Proxy goes to the proxy's own
	// resolver, which knows the mesh's services; the guest sees the answers
	// come from the resolver that it asked. Proxy turns on Istio's DNS
	// capture, which a running pod takes up with its next start. Over IPv6 a
	// guest cannot reach that resolver: in a pod with both families its DNS
	// over IPv6 is what unmeshed is about, and in a pod with IPv6 alone Proxy
	// is refused.
	//
	// +optional
	DNS DNSPolicy `json:"dns,omitempty"`

	// onChange says what becomes of established flows that a change of ports
	// or of capture affects. Keep leaves them on their old way until they
	// end, which is also what happens when it is left out. Reset ends all that
	// go otherwise than the rules now say, and only those, so that they are
	// opened anew on their new way.
	//
	// +optional
	OnChange ChangePolicy `json:"onChange,omitempty"`
}

// DNSPolicy says which way the guest's DNS takes.
//
// +kubebuilder:validation:Enum=Direct;Proxy
type DNSPolicy string

const (
	// DNSPolicyDirect goes past the proxy.
	DNSPolicyDirect DNSPolicy = "Direct"
	// DNSPolicyProxy goes to the proxy's resolver.
	DNSPolicyProxy DNSPolicy = "Proxy"
)

// ChangePolicy says what becomes of established flows that a change affects.
//
// +kubebuilder:validation:Enum=Keep;Reset
type ChangePolicy string

const (
	// ChangePolicyKeep leaves them on their old way.
	ChangePolicyKeep ChangePolicy = "Keep"
	// ChangePolicyReset ends them.
	ChangePolicyReset ChangePolicy = "Reset"
)

// UnmeshedPolicy says what becomes of traffic that the mesh cannot carry.
//
// +kubebuilder:validation:Enum=Allow;Drop
type UnmeshedPolicy string

const (
	// UnmeshedPolicyAllow leaves it alone.
	UnmeshedPolicyAllow UnmeshedPolicy = "Allow"
	// UnmeshedPolicyDrop drops it.
	UnmeshedPolicyDrop UnmeshedPolicy = "Drop"
)

// PortRange is a port or a range of ports, as in a NetworkPolicy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || self.endPort >= self.port",message="endPort must not be less than port"
type PortRange struct {
	// protocol is the transport protocol: TCP when left out.
	//
	// +optional
	Protocol PortProtocol `json:"protocol,omitempty"`

	// port is the port, or the first of the range.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// endPort is the last port of the range; port alone when left out.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`
}

// InboundCapture says which connections to the guest go past the mesh proxy
// without being ports of the Service.
//
// +kubebuilder:validation:MinProperties=1
type InboundCapture struct {
	// excludePorts are ports of the guest that others reach past the proxy,
	// beside the entries of ports whose route is Direct.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(r, (has(r.protocol) && r.protocol == 'UDP') || ![15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090, 15901, 15902, 49152, 49153].exists(p, p >= r.port && p <= (has(r.endPort) ? r.endPort : r.port)))",message="a range covers a reserved TCP port: 15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053 and 15090 belong to the mesh proxy, 15901 and 15902 to the start gate, 49152 and 49153 to KubeVirt's live migration; leave them out"
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
}

// OutboundCapture says which of the guest's own connections go past the mesh
// proxy. Without it all of the guest's TCP connections go through it.
//
// +kubebuilder:validation:MinProperties=1
type OutboundCapture struct {
	// excludePorts are destination ports that go past the proxy. UDP never
	// goes through it: for UDP, this spares ports from unmeshed: Drop.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`

	// excludeCIDRs are destination networks that go past the proxy, for example
	// "10.96.0.0/16" or "fd00:96::/112", without host bits.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="has host bits set: write the network's first address, as 10.96.0.0/16 for 10.96.0.5/16, or the length 32 (IPv6: 128) for one host"
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`

	// includeCIDRs are the only destination networks that go through the
	// proxy, less the exclusions; all when left out. With networks of one
	// address family only, nothing of the other goes through the proxy.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="has host bits set: write the network's first address, as 10.96.0.0/16 for 10.96.0.5/16, or the length 32 (IPv6: 128) for one host"
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
