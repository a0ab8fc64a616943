// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ProtocolOrDefault returns the transport protocol of the port. Defaults to
// TCP.
func (p Port) ProtocolOrDefault() PortProtocol {
	if p.Protocol == "" {
		return PortProtocolTCP
	}
	return p.Protocol
}

// TargetPortOrDefault returns the port number on which the guest listens.
// Defaults to the port number of the Service.
func (p Port) TargetPortOrDefault() int32 {
	if p.TargetPort == 0 {
		return p.Port
	}
	return p.TargetPort
}

// IstioPort converts a port number to the type of Istio's API. A negative number, which
// the validation rejects, becomes 0.
func IstioPort(port int32) uint32 { return uint32(max(port, 0)) }

// ViaOrDefault returns whether connections to the port pass through the mesh
// proxy. Defaults to Mesh for TCP and Direct for UDP.
func (p Port) ViaOrDefault() PortVia {
	switch {
	case p.Via != "":
		return p.Via
	case p.ProtocolOrDefault() == PortProtocolUDP:
		return PortViaDirect
	default:
		return PortViaMesh
	}
}

// namedProtocols are the application protocols that the name of a port can start
// with.
var namedProtocols = []string{"http", "http2", "grpc", "https", "tls", "tcp", "mongo", "mysql", "redis"}

// AppProtocolOrDefault returns the application protocol of a TCP port. Defaults to
// the protocol that the name of the port starts with, as in Istio (pkg/config/kube,
// ConvertProtocol), or to tcp. For a port without a protocol, Istio would detect the
// protocol from the first bytes, which delays protocols in which the server sends
// first. UDP ports have no application protocol.
func (p Port) AppProtocolOrDefault() string {
	const grpcWeb, tcp = "grpc-web", "tcp"
	prefix, _, _ := strings.Cut(p.Name, "-")
	switch {
	case p.ProtocolOrDefault() == PortProtocolUDP:
		return ""
	case p.AppProtocol != "":
		return p.AppProtocol
	case strings.HasPrefix(p.Name, grpcWeb):
		return grpcWeb
	case slices.Contains(namedProtocols, prefix):
		return prefix
	default:
		return tcp
	}
}

// IsMeshed reports whether connections to the port pass through the mesh proxy.
func (p Port) IsMeshed() bool {
	return p.ProtocolOrDefault() == PortProtocolTCP && p.ViaOrDefault() == PortViaMesh
}

// ProtocolOrDefault returns the transport protocol of the range. Defaults to
// TCP.
func (r PortRange) ProtocolOrDefault() PortProtocol {
	if r.Protocol == "" {
		return PortProtocolTCP
	}
	return r.Protocol
}

// EndPortOrDefault returns the last port of the range. Defaults to its first
// port.
func (r PortRange) EndPortOrDefault() int32 {
	if r.EndPort == 0 {
		return r.Port
	}
	return r.EndPort
}

// ModeOrDefault returns the mode of ports that do not set a mode. Defaults to
// Strict.
func (m MTLSSpec) ModeOrDefault() MTLSMode {
	if m.Mode == "" {
		return MTLSModeStrict
	}
	return m.Mode
}

// IsHeadless reports whether the Service has no cluster IP. Clients choose a pod by
// DNS, and their proxies connect to it regardless of routes and subsets (Istio,
// pilot/pkg/networking/core, convertResolution: ORIGINAL_DST).
func (s MeshedVirtualMachineSpec) IsHeadless() bool {
	return s.Service.Type == ServiceTypeHeadless
}

// IsSet reports whether the spec limits the destinations of the guest.
func (e EgressSpec) IsSet() bool {
	return e.Outbound != "" || len(e.Hosts) > 0 || len(e.Services) > 0
}

// RestrictsClients reports whether the spec permits connections only to some clients.
func (s MeshedVirtualMachineSpec) RestrictsClients() bool {
	return len(s.Mesh.Allow) > 0 ||
		slices.ContainsFunc(s.Mesh.Authorization, func(a Authorization) bool { return a.Action == AuthorizationActionAllow })
}

// HasRoute reports whether the VirtualService has a route for the port. A route of
// TLS connections would match only some server names. A TCP route to a headless
// Service has no effect.
func (s MeshedVirtualMachineSpec) HasRoute(p Port) bool {
	return p.IsMeshedHTTP() || p.IsMeshed() && !p.IsMeshedTLS() && !s.IsHeadless()
}

// MTLSModeOf returns the mutual TLS mode that the spec declares for connections
// to the port: Disable if they bypass the proxy.
func (s MeshedVirtualMachineSpec) MTLSModeOf(p Port) MTLSMode {
	if !p.IsMeshed() {
		return MTLSModeDisable
	}
	return cmp.Or(p.MTLS, s.Mesh.MTLS.ModeOrDefault())
}

// String returns PORT/PROTOCOL or FIRST-LAST/PROTOCOL, at most 15 characters.
func (r PortRange) String() string {
	if last := r.EndPortOrDefault(); last != r.Port {
		return fmt.Sprintf("%d-%d/%s", r.Port, last, r.ProtocolOrDefault())
	}
	return fmt.Sprintf("%d/%s", r.Port, r.ProtocolOrDefault())
}

// StartOrDefault returns the start policy. Defaults to AfterProgrammed.
func (s MeshedVirtualMachineSpec) StartOrDefault() StartPolicy {
	if s.Start == "" {
		return StartPolicyAfterProgrammed
	}
	return s.Start
}

// KeepsVirtualMachine reports whether the spec requests that the VirtualMachine remains
// when the MeshedVirtualMachine is deleted.
func (s MeshedVirtualMachineSpec) KeepsVirtualMachine() bool {
	return s.DeletionPolicy == DeletionPolicyOrphan || s.Adopts()
}

// Adopts reports whether the VirtualMachine is one that the operator did not create.
func (s MeshedVirtualMachineSpec) Adopts() bool { return s.ExistingVirtualMachine.Name != "" }

// ReleasesVirtualMachine reports whether the object is being deleted and its
// VirtualMachine remains. The finalizer shows the deletion policy that is in effect: an
// edit immediately before the deletion changes nothing.
func (m *MeshedVirtualMachine) ReleasesVirtualMachine() bool {
	return !m.DeletionTimestamp.IsZero() && slices.Contains(m.Finalizers, FinalizerOrphan)
}

// DefaultVersion is the version of a guest whose spec does not set a version.
const DefaultVersion = "v1"

// VersionOrDefault returns the version of the guest, which is also the name of
// its mesh subset. Defaults to DefaultVersion.
func (s MeshedVirtualMachineSpec) VersionOrDefault() string {
	if s.Version == "" {
		return DefaultVersion
	}
	return s.Version
}

// IsMeshedHTTP reports whether connections to the port pass through the mesh
// and the mesh handles them as HTTP (Istio, pkg/config/protocol,
// Instance.IsHTTP).
func (p Port) IsMeshedHTTP() bool {
	if !p.IsMeshed() {
		return false
	}
	switch p.AppProtocolOrDefault() {
	case "http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws":
		return true
	default:
		return false
	}
}

// IsMeshedTLS reports whether connections to the port pass through the mesh
// and carry the client's own TLS (Istio, pkg/config/protocol, Instance.IsTLS).
func (p Port) IsMeshedTLS() bool {
	if !p.IsMeshed() {
		return false
	}
	switch p.AppProtocolOrDefault() {
	case "https", "tls", "kubernetes.io/wss":
		return true
	default:
		return false
	}
}

// DefaultClusterDomain is the DNS domain of a cluster that is not configured
// otherwise. It is also Istio's default (Istio, pkg/config/constants,
// DefaultClusterLocalDomain).
const DefaultClusterDomain = "cluster.local"

// ServiceName returns the name of the Service of the object, which other
// MeshedVirtualMachines of the namespace can share. Defaults to the name of the object.
func (m *MeshedVirtualMachine) ServiceName() string { return cmp.Or(m.Spec.Service.Name, m.Name) }

// WhenUnreadyOrDefault returns what happens to the traffic of a version that does not
// serve. Defaults to Shift.
func (s ServiceSpec) WhenUnreadyOrDefault() WhenUnready {
	return cmp.Or(s.WhenUnready, WhenUnreadyShift)
}

// ServiceFQDN returns the fully qualified DNS name of the Service of the object
// in a cluster with the DNS domain. An empty domain means DefaultClusterDomain.
func (m *MeshedVirtualMachine) ServiceFQDN(clusterDomain string) string {
	return m.ServiceName() + "." + m.Namespace + ".svc." + cmp.Or(clusterDomain, DefaultClusterDomain)
}

// VirtualMachineName returns the name of the KubeVirt VirtualMachine, which its
// VirtualMachineInstance has too. The operator derives it nowhere else.
func (m *MeshedVirtualMachine) VirtualMachineName() string {
	return cmp.Or(m.Spec.ExistingVirtualMachine.Name, m.Name)
}

// PausedByUser reports whether the annotation meshvm.io/paused suspends
// reconciliation of the object.
func (m *MeshedVirtualMachine) PausedByUser() bool { return m.Annotations[AnnotationPaused] == "true" }
