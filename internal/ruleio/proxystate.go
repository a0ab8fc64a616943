// SPDX-License-Identifier: Apache-2.0

package ruleio

// ProxyKind is the kind of a proxy whose state was read.
type ProxyKind string

// ProxyEnvoy is the sidecar of the pod.
const ProxyEnvoy ProxyKind = "Envoy"

// ProxyPhase is the state of the proxy's process.
type ProxyPhase string

// Phases of a proxy.
const (
	// ProxyLive means that the proxy accepts connections.
	ProxyLive ProxyPhase = "Live"
	// ProxyDraining means that the proxy is shutting down, or that its listeners
	// were stopped.
	ProxyDraining ProxyPhase = "Draining"
	// ProxyStarting means that the proxy has not received its configuration yet.
	ProxyStarting ProxyPhase = "Starting"
)

// ProxyConfiguration is the state of the proxy's configuration.
type ProxyConfiguration string

// States of a proxy's configuration.
const (
	// ProxySynced means that the proxy runs the configuration that it last
	// received, and is connected to the control plane.
	ProxySynced ProxyConfiguration = "Synced"
	// ProxyStale means that the proxy is not connected to the control plane.
	ProxyStale ProxyConfiguration = "Stale"
	// ProxyRejected means that the proxy rejected the last configuration of a
	// listener and continues with the previous one.
	ProxyRejected ProxyConfiguration = "Rejected"
)

// ProxyState is the state that OperationVerify read from the proxy of a target. It
// is the proxy's own statement: a process in the pod can falsify it.
type ProxyState struct {
	// Kind is the kind of the proxy.
	Kind ProxyKind `json:"kind"`
	// Error is the reason why the proxy could not be read. All other fields are
	// then empty.
	Error string `json:"error,omitempty"`
	// Version is the release of the proxy.
	Version string `json:"version,omitempty"`
	// Phase is the state of the proxy's process.
	Phase ProxyPhase `json:"phase,omitempty"`
	// Configuration is the state of its configuration.
	Configuration ProxyConfiguration `json:"configuration,omitempty"`
	// Identity is the identity in its certificate, for example
	// "spiffe://cluster.local/ns/shop/sa/web".
	Identity string `json:"identity,omitempty"`
	// CertificateExpiry is the time at which the first of its certificates expires,
	// in seconds since 1970.
	CertificateExpiry int64 `json:"certificateExpiry,omitempty"`
	// Strict are the ports of NATPlan.Inbound.Mesh on which the proxy accepts only
	// connections with a client certificate.
	Strict []PortRange `json:"strict,omitempty"`
	// Permissive are the ports on which it also accepts other connections.
	Permissive []PortRange `json:"permissive,omitempty"`
	// Disabled are the ports on which it never demands a client certificate.
	// A port in none of the lists is not accepted at all.
	Disabled []PortRange `json:"disabled,omitempty"`
}
