// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import networkingv1 "istio.io/api/networking/v1alpha3"

// The two CEL rules of this file about reserved ports duplicate
// internal/validate/ports.go, because markers cannot refer to Go constants. A
// test compares them.

// PortProtocol is the transport protocol of a port.
//
// +kubebuilder:validation:Enum=TCP;UDP
type PortProtocol string

const (
	// PortProtocolTCP is TCP.
	PortProtocolTCP PortProtocol = "TCP"
	// PortProtocolUDP is UDP. Mesh proxies do not carry UDP.
	PortProtocolUDP PortProtocol = "UDP"
)

// PortVia specifies whether connections to a port pass through the mesh proxy.
//
// +kubebuilder:validation:Enum=Mesh;Direct
type PortVia string

const (
	// PortViaMesh sends connections through the proxy.
	PortViaMesh PortVia = "Mesh"
	// PortViaDirect sends connections directly to the guest, bypassing the
	// proxy.
	PortViaDirect PortVia = "Direct"
)

// Port is a port that the guest exposes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'UDP' || !has(self.via) || self.via == 'Direct'",message="the mesh does not carry UDP: omit via or set it to Direct"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'UDP' || !has(self.appProtocol)",message="appProtocol applies only to TCP: omit it for UDP"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'UDP' || !has(self.mtls) && !has(self.timeout) && !has(self.retries)",message="mtls, timeout and retries apply only to TCP: omit them for UDP"
// +kubebuilder:validation:XValidation:rule="has(self.protocol) && self.protocol == 'UDP' || !has(self.mtls) || !has(self.via) || self.via == 'Mesh'",message="mtls applies only to ports via Mesh: omit mtls, or set via to Mesh"
// +kubebuilder:validation:XValidation:rule="has(self.protocol) && self.protocol == 'UDP' || !has(self.timeout) && !has(self.retries) || (!has(self.via) || self.via == 'Mesh') && (!has(self.appProtocol) || self.appProtocol in ['http', 'http2', 'grpc', 'grpc-web', 'kubernetes.io/h2c', 'kubernetes.io/ws'])",message="timeout and retries apply only to HTTP ports via Mesh: omit them, or set appProtocol to an HTTP protocol and via to Mesh"
// +kubebuilder:validation:XValidation:rule="!has(self.retries) || has(self.retries.attempts) && self.retries.attempts > 0 || (!has(self.retries.attempts) || self.retries.attempts == 0) && !has(self.retries.perTryTimeout) && !has(self.retries.retryOn) && !has(self.retries.retryRemoteLocalities) && !has(self.retries.retryIgnorePreviousHosts) && !has(self.retries.backoff)",message="retries without attempts, or with attempts 0, turns retries off: set attempts to a positive number, or remove the other fields of retries"
// +kubebuilder:validation:XValidation:rule="(has(self.protocol) && self.protocol == 'UDP') || !((has(self.targetPort) ? self.targetPort : self.port) in [15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090, 15901, 15902, 49152, 49153])",message="targetPort (defaults to port) is reserved: 15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053 and 15090 are used by the mesh proxy, 15901 and 15902 by the start gate, 49152 and 49153 by KubeVirt live migration; use another port in the guest"
// +kubebuilder:validation:XValidation:rule="!has(self.maxConnections) && !has(self.rateLimit) || (!has(self.protocol) || self.protocol == 'TCP') && (!has(self.via) || self.via == 'Mesh')",message="maxConnections and rateLimit apply only to TCP ports via Mesh, because the proxy does not receive other connections: omit them, or, for a TCP port, set via to Mesh"
// +kubebuilder:validation:XValidation:rule="!has(self.rateLimit) || !has(self.rateLimit.rules) || !has(self.appProtocol) || self.appProtocol in ['http', 'http2', 'grpc', 'grpc-web', 'kubernetes.io/h2c', 'kubernetes.io/ws']",message="rateLimit.rules match HTTP requests: remove rules, or set appProtocol to an HTTP protocol"
type Port struct {
	// name identifies the port in the Service, in routes and in status.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// port is the port number of the Service.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// targetPort is the port number on which the guest listens. Several ports
	// can have the same targetPort if they have the same via, appProtocol, mutual TLS
	// mode, maxConnections and rateLimit. A headless Service does not translate ports, so targetPort must equal
	// port if service.type is Headless. Defaults to port.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort,omitempty"`

	// protocol is the transport protocol of the port. Defaults to TCP.
	//
	// +optional
	Protocol PortProtocol `json:"protocol,omitempty"`

	// appProtocol is the application protocol of the port. The mesh routes
	// http, http2, grpc, grpc-web, kubernetes.io/h2c and kubernetes.io/ws as
	// HTTP, and forwards all other protocols as TCP. The connections of https,
	// tls and kubernetes.io/wss have no route, so that they are forwarded with
	// any TLS server name. Defaults to the protocol that the name of the port
	// starts with, as in Istio: http for the name http or http-web, and grpc-web
	// for a name that starts with grpc-web. Defaults to tcp for other names.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Enum=http;http2;grpc;grpc-web;kubernetes.io/h2c;kubernetes.io/ws;kubernetes.io/wss;https;tls;tcp;mongo;mysql;redis
	AppProtocol string `json:"appProtocol,omitempty"`

	// via specifies whether connections pass through the mesh proxy. The mesh
	// does not encrypt or authorize traffic to a port via Direct. Such ports are
	// listed in status.mtls.bypassedPorts. Defaults to Mesh for TCP and to
	// Direct for UDP, which mesh proxies do not carry.
	//
	// +optional
	Via PortVia `json:"via,omitempty"`

	// mtls is the mutual TLS mode of connections to the port. It applies only to
	// TCP ports via Mesh. Ports with the same targetPort must have the same
	// mode, because Istio applies modes by targetPort. Defaults to
	// mesh.mtls.mode.
	//
	// +optional
	MTLS MTLSMode `json:"mtls,omitempty"`

	// timeout is the timeout of an HTTP request to the port as a Gateway API
	// duration (GEP-2257), for example "5s". It includes all tries and, for gRPC,
	// limits the duration of a stream. It applies only to HTTP ports via Mesh. By
	// default, Istio does not limit the duration of a request.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",message="must be a positive duration with units, for example 5s or 1m30s"
	Timeout string `json:"timeout,omitempty"`

	// retries is the Istio HTTPRetry policy for failed HTTP requests to the
	// port. It applies only to HTTP ports via Mesh. By default, Istio tries a
	// request up to two more times after a failed connection, a refused stream
	// or an unavailable server. {attempts: 0} turns retries off.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Retries *networkingv1.HTTPRetry `json:"retries,omitempty"`

	// maxConnections is the maximum number of open connections to the port. The
	// proxy of the guest closes further connections. It counts the connections of
	// each pod, and connections with mutual TLS separately from plain text. It
	// applies only to TCP ports via Mesh. Ports with the same targetPort must have
	// the same value. By default, the number is not limited.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxConnections int32 `json:"maxConnections,omitempty"`

	// rateLimit limits the rate of requests to an HTTP port, and of new connections
	// to another TCP port. The proxy of the guest answers further requests with
	// status 429 (RESOURCE_EXHAUSTED for gRPC), and closes further connections. It
	// applies only to TCP ports via Mesh. Ports with the same targetPort must have
	// the same rateLimit. By default, the rate is not limited.
	//
	// +optional
	RateLimit RateLimit `json:"rateLimit,omitzero"`

	// nodePort is the port number on every node. It applies only to a Service
	// of type NodePort or LoadBalancer. By default, Kubernetes assigns a
	// number.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort int32 `json:"nodePort,omitempty"`
}

// PortRange is a port or a range of ports, as in a NetworkPolicy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || self.endPort >= self.port",message="endPort must be greater than or equal to port"
type PortRange struct {
	// protocol is the transport protocol of the ports. Defaults to TCP.
	//
	// +optional
	Protocol PortProtocol `json:"protocol,omitempty"`

	// port is the port, or the first port of the range.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// endPort is the last port of the range. Defaults to port.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`
}

// InboundCapture specifies which connections to the guest bypass the mesh proxy
// although their ports are not part of the Service.
//
// +kubebuilder:validation:MinProperties=0
type InboundCapture struct {
	// excludePorts are guest ports that clients reach directly, in addition to
	// the ports via Direct.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(r, (has(r.protocol) && r.protocol == 'UDP') || ![15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090, 15901, 15902, 49152, 49153].exists(p, p >= r.port && p <= (has(r.endPort) ? r.endPort : r.port)))",message="a range contains a reserved TCP port: 15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053 and 15090 are used by the mesh proxy, 15901 and 15902 by the start gate, 49152 and 49153 by KubeVirt live migration; exclude these ports from the range"
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
}
