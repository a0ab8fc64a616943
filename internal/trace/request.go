// SPDX-License-Identifier: Apache-2.0

package trace

import "meshvm.io/meshvm/internal/flowio"

// The request is defined in a package that the manager can import.
type (
	// Request specifies the flow to trace and the pod.
	Request = flowio.Request
	// Proxy specifies the mesh proxy.
	Proxy = flowio.Proxy
	// Flow matches flows by their first packet.
	Flow = flowio.Flow
	// From specifies where a flow starts.
	From = flowio.From
	// Protocol is the name of a transport protocol in nft.
	Protocol = flowio.Protocol
)

// Values and limits of a request.
const (
	RequestVersion = flowio.RequestVersion
	MaxDuration    = flowio.MaxDuration
	MaxFlows       = flowio.MaxFlows

	FromAny     = flowio.FromAny
	FromGuest   = flowio.FromGuest
	FromOutside = flowio.FromOutside
	FromPod     = flowio.FromPod

	ProtocolAny    = flowio.ProtocolAny
	ProtocolTCP    = flowio.ProtocolTCP
	ProtocolUDP    = flowio.ProtocolUDP
	ProtocolICMP   = flowio.ProtocolICMP
	ProtocolICMPv6 = flowio.ProtocolICMPv6
)

// ErrInvalidRequest indicates a request that no retry can make valid.
var ErrInvalidRequest = flowio.ErrInvalidRequest

// DecodeRequest decodes a request.
func DecodeRequest(b []byte) (Request, error) { return flowio.DecodeRequest(b) } //nolint:wrapcheck // It is the same function.
