// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProxyPorts specifies the ports of the mesh proxy.
type ProxyPorts struct {
	// inboundPort receives redirected inbound TCP connections. Istio uses
	// 15006.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	InboundPort int32 `json:"inboundPort,omitempty"`

	// outboundPort receives the redirected TCP connections of the guest. Istio
	// uses 15001.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	OutboundPort int32 `json:"outboundPort,omitempty"`

	// localPorts are TCP ports on which the proxy itself listens. Connections
	// to these ports never reach the guest.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	LocalPorts []int32 `json:"localPorts,omitempty"`

	// dnsPort is the loopback port of the proxy's DNS resolver. Omitted if
	// Istio does not capture the pod's DNS.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	DNSPort int32 `json:"dnsPort,omitempty"`
}

// ProxyKind is the kind of a mesh proxy.
//
// +kubebuilder:validation:Enum=Envoy
type ProxyKind string

// ProxyKindEnvoy is the sidecar of the pod.
const ProxyKindEnvoy ProxyKind = "Envoy"

// ProxyPhase is the state of a proxy's process.
//
// +kubebuilder:validation:Enum=Live;Draining;Starting;Unreadable
type ProxyPhase string

const (
	// ProxyPhaseLive means that the proxy accepts connections.
	ProxyPhaseLive ProxyPhase = "Live"
	// ProxyPhaseDraining means that the proxy is shutting down, or that its listeners
	// were stopped.
	ProxyPhaseDraining ProxyPhase = "Draining"
	// ProxyPhaseStarting means that the proxy has not received its configuration yet.
	ProxyPhaseStarting ProxyPhase = "Starting"
	// ProxyPhaseUnreadable means that the last audit could not read the proxy.
	ProxyPhaseUnreadable ProxyPhase = "Unreadable"
)

// ProxyConfiguration is the state of a proxy's configuration.
//
// +kubebuilder:validation:Enum=Synced;Stale;Rejected
type ProxyConfiguration string

const (
	// ProxyConfigurationSynced means that the proxy runs the configuration that it
	// last received, and is connected to Istio.
	ProxyConfigurationSynced ProxyConfiguration = "Synced"
	// ProxyConfigurationStale means that the proxy is not connected to Istio.
	ProxyConfigurationStale ProxyConfiguration = "Stale"
	// ProxyConfigurationRejected means that the proxy rejected the last configuration
	// of a listener.
	ProxyConfigurationRejected ProxyConfiguration = "Rejected"
)

// ProxyStatus is the state that an audit read from the administration interface of
// the pod's proxy. It is the proxy's own statement: a process in the pod that takes
// the proxy's place can falsify it.
type ProxyStatus struct {
	// kind is the kind of the proxy.
	//
	// +required
	Kind ProxyKind `json:"kind,omitempty"`

	// version is the release of the proxy.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Version string `json:"version,omitempty"`

	// state is the state of the proxy's process. If it is Unreadable, the fields
	// below are omitted.
	//
	// +required
	State ProxyPhase `json:"state,omitempty"`

	// message is the reason why the proxy could not be read.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`

	// configuration is the state of the proxy's configuration.
	//
	// +optional
	Configuration ProxyConfiguration `json:"configuration,omitempty"`

	// identity is the identity in the proxy's certificate, for example
	// "spiffe://cluster.local/ns/shop/sa/web".
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Identity string `json:"identity,omitempty"`

	// certificateExpiry is the time at which the proxy's certificate expires.
	//
	// +optional
	CertificateExpiry *metav1.Time `json:"certificateExpiry,omitempty"`

	// inbound are the mutual TLS modes of the mesh ports in the configuration that
	// the proxy runs. A port is omitted if the proxy accepts no connections to it.
	//
	// +optional
	// +listType=map
	// +listMapKey=port
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Inbound []ProxyPort `json:"inbound,omitempty"`

	// containerStarted is the time at which the proxy's container was started. The
	// state of a container that was started later is not known yet.
	//
	// +optional
	ContainerStarted *metav1.Time `json:"containerStarted,omitempty"`

	// policies identifies the mutual TLS modes that Istio's policies requested at the time
	// of the audit. Another audit follows when they change.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Policies string `json:"policies,omitempty"`

	// since is the time of the first audit that read this state. Audits that read the
	// same state do not change it, except for the first one after the certificate
	// expired.
	//
	// +required
	Since *metav1.Time `json:"since,omitempty"`
}

// ProxyPort is a port in the configuration of a proxy.
type ProxyPort struct {
	// port is the port of the guest.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// mode is Strict if the proxy accepts only connections with a client certificate
	// that Istio's authority issued, Permissive if it also accepts other connections,
	// and Disable if it never demands a certificate.
	//
	// +required
	Mode MTLSMode `json:"mode,omitempty"`
}
