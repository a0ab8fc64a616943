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

// RouteOrDefault is the port's route: what it says, else Mesh for TCP and
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

// ModeOrDefault is the mode of ports without one of their own, Strict when left
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

// StartOrDefault says when the guest may run, AfterProgrammed when left out.
func (s MeshedVirtualMachineSpec) StartOrDefault() StartPolicy {
	if s.Start == "" {
		return StartPolicyAfterProgrammed
	}
	return s.Start
}
