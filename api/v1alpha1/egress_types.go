// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// OutboundMode specifies which connections of the guest its proxy forwards.
//
// +kubebuilder:validation:Enum=RegistryOnly;AllowAny
type OutboundMode string

const (
	// OutboundModeRegistryOnly forwards only connections to services that the proxy
	// knows.
	OutboundModeRegistryOnly OutboundMode = "RegistryOnly"
	// OutboundModeAllowAny also forwards connections to unknown addresses.
	OutboundModeAllowAny OutboundMode = "AllowAny"
)

// EgressSpec limits the destinations of the guest's TCP connections that pass its
// proxy. Traffic that bypasses the proxy is not limited: UDP, ICMP, and connections
// that capture.outbound excludes.
//
// +kubebuilder:validation:MinProperties=0
type EgressSpec struct {
	// outbound specifies whether the proxy forwards connections to addresses that
	// belong to no service that it knows. By default, Istio's mesh configuration
	// decides (outboundTrafficPolicy), which forwards them unless an administrator
	// changed it.
	//
	// +optional
	Outbound OutboundMode `json:"outbound,omitempty"`

	// hosts are the services that the proxy knows, as NAMESPACE/HOST. NAMESPACE is
	// a namespace, "." for the namespace of the guest or "*" for all namespaces.
	// HOST is a host name, a wildcard such as "*.example.com", or "*" for all
	// services. The services of this field are added. Defaults to all services of
	// the namespace of the guest and of Istio's root namespace.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^([*.]|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/(\*|(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$`
	Hosts []string `json:"hosts,omitempty"`

	// services are hosts outside of the cluster to which the guest may connect.
	// Each becomes a ServiceEntry that is visible only in the namespace of the
	// guest, to all workloads there.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Services []ExternalService `json:"services,omitempty"`
}

// ServiceResolution specifies how the proxy determines the addresses of a service.
//
// +kubebuilder:validation:Enum=DNS;None
type ServiceResolution string

const (
	// ServiceResolutionDNS uses the addresses that the proxy resolves.
	ServiceResolutionDNS ServiceResolution = "DNS"
	// ServiceResolutionNone uses the address to which the guest connects.
	ServiceResolutionNone ServiceResolution = "None"
)

// ExternalService is a service outside of the cluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.hosts) || !self.hosts.exists(h, h.startsWith('*')) || has(self.resolution) && self.resolution == 'None'",message="a wildcard host has no address that the proxy can resolve: list the hosts, or set resolution to None"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || !self.ports.exists(p, has(p.protocol) && p.protocol == 'TCP') || has(self.addresses)",message="a TCP connection contains no host name, so that the service would receive every connection to the port from the namespace: set addresses, or use protocol TLS or HTTP"
// +kubebuilder:validation:XValidation:rule="!has(self.addresses) || has(self.resolution) && self.resolution == 'None'",message="addresses are the destinations to which the guest connects: set resolution to None, or remove addresses"
type ExternalService struct {
	// name identifies the service. The ServiceEntry is named MVM.NAME, where MVM is
	// the name of the MeshedVirtualMachine.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// hosts are the fully qualified names of the service, for example
	// "api.example.com", or "*.example.com" for all names below example.com. Names
	// of the cluster are rejected.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self.all(h, !h.matches('(^|[.])(svc|cluster[.]local|clusterset[.]local)$') && h != '*.local')",message="hosts of mesh.egress.services must not be names of the cluster, so that an external service cannot replace a service of the cluster: use the name of an external host"
	Hosts []string `json:"hosts,omitempty"`

	// addresses are the addresses or networks of the service in CIDR notation. They
	// are required for the protocol TCP, in which a connection contains no host
	// name, and require resolution None.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(a, isCIDR(a) && cidr(a).prefixLength() > 0)",message="addresses must be networks in CIDR notation with a prefix length above 0, for example 192.0.2.10/32"
	Addresses []string `json:"addresses,omitempty"`

	// ports are the ports of the service.
	//
	// +required
	// +listType=map
	// +listMapKey=number
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Ports []ExternalPort `json:"ports,omitempty"`

	// resolution specifies how the proxy determines the address of a host. With
	// DNS, the proxy resolves the host name of the request, and the address to
	// which the guest connects has no effect. With None, the proxy forwards to the
	// address to which the guest connects and does not check that it belongs to the
	// host. Defaults to DNS.
	//
	// +optional
	Resolution ServiceResolution `json:"resolution,omitempty"`
}

// ExternalPort is a port of a service outside of the cluster.
type ExternalPort struct {
	// number is the port number.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Number int32 `json:"number,omitempty"`

	// protocol is the protocol in Istio's notation. TLS and HTTPS are connections
	// that the guest encrypts. The proxy forwards them by the server name of TLS.
	//
	// +required
	Protocol ExternalProtocol `json:"protocol,omitempty"`
}

// ExternalProtocol is the protocol of a port outside of the cluster.
//
// +kubebuilder:validation:Enum=HTTP;HTTP2;GRPC;HTTPS;TLS;TCP
type ExternalProtocol string

// ExternalProtocolTCP is the protocol without host names.
const ExternalProtocolTCP ExternalProtocol = "TCP"
