// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "fmt"

// ProtocolOrDefault is the port's transport protocol, TCP when left out.
func (p Port) ProtocolOrDefault() PortProtocol {
	if p.Protocol == "" {
		return PortProtocolTCP
	}
	return p.Protocol
}

// TargetPortOrDefault is the number on which the guest listens, the Service's
// own number when left out.
func (p Port) TargetPortOrDefault() int32 {
	if p.TargetPort == 0 {
		return p.Port
	}
	return p.TargetPort
}

// RouteOrDefault is the port's route. Defaults to Mesh for TCP and
// Direct for UDP.
func (p Port) RouteOrDefault() PortRoute {
	switch {
	case p.Route != "":
		return p.Route
	case p.ProtocolOrDefault() == PortProtocolUDP:
		return PortRouteDirect
	default:
		return PortRouteMesh
	}
}

// ProtocolOrDefault is the range's transport protocol, TCP when left out.
func (r PortRange) ProtocolOrDefault() PortProtocol {
	if r.Protocol == "" {
		return PortProtocolTCP
	}
	return r.Protocol
}

// EndPortOrDefault is the last port of the range, its first when left out.
func (r PortRange) EndPortOrDefault() int32 {
	if r.EndPort == 0 {
		return r.Port
	}
	return r.EndPort
}

// ModeOrDefault is the mode of ports that set none, Strict when left
// out.
func (m MTLSSpec) ModeOrDefault() MTLSMode {
	if m.Mode == "" {
		return MTLSModeStrict
	}
	return m.Mode
}

// String is PORT/PROTOCOL or FIRST-LAST/PROTOCOL, at most 15 characters.
func (r PortRange) String() string {
	if last := r.EndPortOrDefault(); last != r.Port {
		return fmt.Sprintf("%d-%d/%s", r.Port, last, r.ProtocolOrDefault())
	}
	return fmt.Sprintf("%d/%s", r.Port, r.ProtocolOrDefault())
}

// StartOrDefault specifies when the guest starts. Defaults to AfterProgrammed.
func (s MeshedVirtualMachineSpec) StartOrDefault() StartPolicy {
	if s.Start == "" {
		return StartPolicyAfterProgrammed
	}
	return s.Start
}

// DefaultVersion is the version of a guest that names none.
const DefaultVersion = "v1"

// VersionOrDefault is the guest's version, which names its subset in the mesh.
// Defaults to DefaultVersion.
func (s MeshedVirtualMachineSpec) VersionOrDefault() string {
	if s.Version == "" {
		return DefaultVersion
	}
	return s.Version
}

// IsMeshedHTTP reports whether the port goes through the mesh and the mesh treats
// its traffic as HTTP (Istio, pkg/config/protocol, Instance.IsHTTP).
func (p Port) IsMeshedHTTP() bool {
	if p.ProtocolOrDefault() != PortProtocolTCP || p.RouteOrDefault() != PortRouteMesh {
		return false
	}
	switch p.AppProtocol {
	case "http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws":
		return true
	default:
		return false
	}
}

// clusterDomain is the DNS domain of the cluster, which is also Istio's default
// (Istio, pkg/config/constants, DefaultClusterLocalDomain).
const clusterDomain = "cluster.local"

// ServiceFQDN is the fully qualified DNS name of the Service of the object.
func (m *MeshedVirtualMachine) ServiceFQDN() string {
	return m.Name + "." + m.Namespace + ".svc." + clusterDomain
}

// PausedByUser reports whether the annotation meshvm.io/paused stops the operator
// from acting on the object.
func (m *MeshedVirtualMachine) PausedByUser() bool { return m.Annotations[AnnotationPaused] == "true" }
