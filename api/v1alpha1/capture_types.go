// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CaptureSpec specifies which traffic bypasses the mesh proxy and which traffic
// is dropped. A guest port that is listed neither in ports nor in
// inbound.excludePorts is closed.
//
// +kubebuilder:validation:MinProperties=0
type CaptureSpec struct {
	// inbound configures connections to the guest.
	//
	// +optional
	Inbound InboundCapture `json:"inbound,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// outbound configures connections that the guest opens.
	//
	// +optional
	Outbound OutboundCapture `json:"outbound,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// unmeshed specifies how traffic that the mesh cannot carry is handled:
	// protocols other than TCP, an address family that the pod's proxy does not
	// carry, and DNS over IPv6 if dns is Proxy. Allow leaves the traffic
	// unchanged. Drop drops it in both directions, except for DNS, UDP ports
	// that are listed in ports or in excludePorts, and networks in
	// outbound.excludeCIDRs. Defaults to Allow.
	//
	// +optional
	Unmeshed UnmeshedPolicy `json:"unmeshed,omitempty"`

	// dns specifies how the guest's DNS queries (UDP and TCP port 53) are
	// handled. Direct sends them to the resolver that the guest addresses,
	// bypassing the proxy. Proxy redirects them to the resolver of the proxy,
	// which knows the services of the mesh. The guest receives the answers from
	// the address that it queried. Proxy enables Istio's DNS capture in the
	// pod, which takes effect at the next start of the guest. The guest cannot
	// reach this resolver over IPv6. In a dual-stack pod, unmeshed applies to
	// DNS over IPv6, and Proxy is rejected in a pod that has only IPv6.
	// Defaults to Direct.
	//
	// +optional
	DNS DNSPolicy `json:"dns,omitempty"`

	// onChange specifies how established flows are handled when a change of
	// ports or of capture affects them. Keep leaves them on their current path
	// until they end. Reset terminates only the flows whose path differs from
	// the new rules, so that clients reconnect through the new path. Defaults
	// to Keep.
	//
	// +optional
	OnChange ChangePolicy `json:"onChange,omitempty"`
}

// DNSPolicy specifies how the guest's DNS queries are handled.
//
// +kubebuilder:validation:Enum=Direct;Proxy
type DNSPolicy string

const (
	// DNSPolicyDirect bypasses the proxy.
	DNSPolicyDirect DNSPolicy = "Direct"
	// DNSPolicyProxy redirects queries to the proxy's resolver.
	DNSPolicyProxy DNSPolicy = "Proxy"
)

// ChangePolicy specifies how established flows are handled when a change
// affects them.
//
// +kubebuilder:validation:Enum=Keep;Reset
type ChangePolicy string

const (
	// ChangePolicyKeep leaves flows on their current path.
	ChangePolicyKeep ChangePolicy = "Keep"
	// ChangePolicyReset terminates flows whose path has changed.
	ChangePolicyReset ChangePolicy = "Reset"
)

// UnmeshedPolicy specifies how traffic that the mesh cannot carry is handled.
//
// +kubebuilder:validation:Enum=Allow;Drop
type UnmeshedPolicy string

const (
	// UnmeshedPolicyAllow leaves the traffic unchanged.
	UnmeshedPolicyAllow UnmeshedPolicy = "Allow"
	// UnmeshedPolicyDrop drops the traffic.
	UnmeshedPolicyDrop UnmeshedPolicy = "Drop"
)

// OutboundCapture specifies which connections of the guest bypass the mesh
// proxy. By default, all TCP connections of the guest pass through the proxy.
//
// +kubebuilder:validation:MinProperties=0
type OutboundCapture struct {
	// excludePorts are destination ports that bypass the proxy. UDP always
	// bypasses the proxy. A UDP port listed here is exempt from unmeshed Drop.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`

	// excludeCIDRs are destination networks that bypass the proxy, in CIDR
	// notation without host bits, for example "10.96.0.0/16" or
	// "fd00:96::/112".
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="must not have host bits set: use the network address, for example 10.96.0.0/16 instead of 10.96.0.5/16, or prefix length 32 (IPv6: 128) for a single host"
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`

	// includeCIDRs are the only destination networks that pass through the
	// proxy, except for the excluded ports and networks. If all entries are of
	// one address family, no traffic of the other family passes through the
	// proxy. Defaults to all networks.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="must not have host bits set: use the network address, for example 10.96.0.0/16 instead of 10.96.0.5/16, or prefix length 32 (IPv6: 128) for a single host"
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
