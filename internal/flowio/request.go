// SPDX-License-Identifier: Apache-2.0

// Package flowio defines the messages between the manager and the tracer: the
// request, the part of the result that the manager reads, and the form in which a
// result fits in a termination message. It is pure.
package flowio

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/strictjson"
)

// RequestVersion is the request format that this package writes and reads.
const RequestVersion = "meshvm.io/trace-request/v1"

// Limits of a request.
const (
	// MaxDuration is the maximum duration of a trace.
	MaxDuration = 5 * time.Minute
	// MaxFlows is the maximum number of flows in a report.
	MaxFlows = 32
	// MaxRequestBytes is the maximum length of an encoded request.
	MaxRequestBytes = 64 << 10
	// maxInterfaceName is the maximum length of an interface name (linux/if.h,
	// IFNAMSIZ without the terminating zero).
	maxInterfaceName = 15
)

// From specifies where a flow starts.
type From string

const (
	// FromAny matches all values.
	FromAny From = ""
	// FromGuest is a flow that the guest opens. It enters through the bridge.
	FromGuest From = "guest"
	// FromOutside is a flow from outside the pod. It enters through the pod's
	// interface.
	FromOutside From = "outside"
	// FromPod is a flow that a process in the pod opens, including the proxy.
	FromPod From = "pod"
)

// Words describes where a flow starts.
func (f From) Words() string {
	switch f {
	case FromGuest:
		return "from the guest"
	case FromOutside:
		return "from outside"
	case FromPod:
		return "from the pod"
	case FromAny:
	}
	return "from anywhere"
}

// Protocol is the name of a transport protocol in nft.
type Protocol string

// Protocols that flows can have.
const (
	// ProtocolAny is TCP and UDP.
	ProtocolAny    Protocol = ""
	ProtocolTCP    Protocol = "tcp"
	ProtocolUDP    Protocol = "udp"
	ProtocolICMP   Protocol = "icmp"
	ProtocolICMPv6 Protocol = "icmpv6"
)

// Request specifies the flow to trace and the pod.
type Request struct {
	// Version is RequestVersion.
	Version string `json:"version"`
	// PodUID identifies the pod's processes by their cgroup.
	PodUID string `json:"podUID"`
	// PodIPs are addresses of the pod. At least one of them must be set on an
	// interface in the network namespace. If empty, the addresses are not
	// checked.
	PodIPs []string `json:"podIPs,omitempty"`
	// PodInterface is the primary interface of the pod. Defaults to "eth0".
	PodInterface string `json:"podInterface,omitempty"`
	// Bridge is the interface through which packets of the guest enter.
	// Defaults to "k6t-" and the name of the pod's interface.
	Bridge string `json:"bridge,omitempty"`
	// Proxy specifies the mesh proxy in the pod. Empty fields default to the
	// values of Istio.
	Proxy Proxy `json:"proxy,omitzero"`
	// Flow is the flow to trace.
	Flow Flow `json:"flow"`
	// DurationMilliseconds is the maximum duration of the trace. Defaults to 10
	// seconds.
	DurationMilliseconds int64 `json:"durationMilliseconds,omitempty"`
	// MaxFlows is the number of flows after which the trace ends. Defaults to
	// 1.
	MaxFlows int `json:"maxFlows,omitempty"`
}

// Proxy specifies the mesh proxy.
type Proxy struct {
	// UID is the user ID and the group ID of the proxy. Istio's sidecar uses it
	// for both, ztunnel only for the group.
	UID uint32 `json:"uid,omitempty"`
	// InboundPort receives redirected inbound TCP connections.
	InboundPort uint16 `json:"inboundPort,omitempty"`
	// OutboundPort receives the guest's redirected TCP connections.
	OutboundPort uint16 `json:"outboundPort,omitempty"`
	// TunnelPort receives inbound connections of other proxies (HBONE, Istio's
	// ambient mode).
	TunnelPort uint16 `json:"tunnelPort,omitempty"`
}

// Flow matches flows by their first packet as it enters the network namespace.
// Empty fields match everything.
type Flow struct {
	// From is where the flow starts.
	From From `json:"from,omitempty"`
	// Protocol is the transport protocol.
	Protocol Protocol `json:"protocol,omitempty"`
	// Source is the address of the client.
	Source string `json:"source,omitempty"`
	// SourcePort is the port of the client.
	SourcePort uint16 `json:"sourcePort,omitempty"`
	// Destination is the address that the client connects to.
	Destination string `json:"destination,omitempty"`
	// DestinationPort is the port that the client connects to.
	DestinationPort uint16 `json:"destinationPort,omitempty"`
}

// ErrInvalidRequest indicates a request that no retry can make valid.
var ErrInvalidRequest = errors.New("invalid trace request")

// DecodeRequest decodes a request. It rejects unknown versions, unknown fields
// and trailing data with an error that wraps ErrInvalidRequest.
func DecodeRequest(b []byte) (Request, error) {
	var r Request
	if len(b) > MaxRequestBytes {
		return r, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalidRequest, len(b), MaxRequestBytes)
	}
	if err := strictjson.Decode(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidRequest, err)
	}
	if r.Version != RequestVersion {
		return r, fmt.Errorf("%w: version %q, this program reads %q", ErrInvalidRequest, r.Version, RequestVersion)
	}
	return r, r.WithDefaults().Validate()
}

// Default values of Istio and KubeVirt.
const (
	defaultPodInterface = "eth0"
	defaultBridgePrefix = "k6t-"
	defaultProxyUID     = 1337
	defaultInboundPort  = 15006
	defaultOutboundPort = 15001
	defaultTunnelPort   = 15008
	defaultDuration     = 10 * time.Second
)

// WithDefaults returns the request with defaults for empty fields.
func (r Request) WithDefaults() Request {
	setDefault(&r.Version, RequestVersion)
	setDefault(&r.PodInterface, defaultPodInterface)
	setDefault(&r.Bridge, defaultBridgePrefix+r.PodInterface)
	setDefault(&r.Proxy.UID, defaultProxyUID)
	setDefault(&r.Proxy.InboundPort, defaultInboundPort)
	setDefault(&r.Proxy.OutboundPort, defaultOutboundPort)
	setDefault(&r.Proxy.TunnelPort, defaultTunnelPort)
	setDefault(&r.DurationMilliseconds, defaultDuration.Milliseconds())
	setDefault(&r.MaxFlows, 1)
	return r
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Duration returns the maximum duration of the trace.
func (r Request) Duration() time.Duration {
	return time.Duration(r.DurationMilliseconds) * time.Millisecond
}

// Validate rejects requests that cannot be traced with an error that wraps
// ErrInvalidRequest.
func (r Request) Validate() error {
	for _, name := range []string{r.PodInterface, r.Bridge} {
		if len(name) > maxInterfaceName {
			return fmt.Errorf("%w: interface name %q is longer than %d", ErrInvalidRequest, name, maxInterfaceName)
		}
	}
	for i, text := range r.PodIPs {
		if _, err := netip.ParseAddr(text); err != nil {
			return fmt.Errorf("%w: podIPs[%d] %q is not an IP address", ErrInvalidRequest, i, text)
		}
	}
	if r.DurationMilliseconds < 0 || r.DurationMilliseconds > MaxDuration.Milliseconds() {
		return fmt.Errorf("%w: duration %d ms is not between 0 and %s", ErrInvalidRequest, r.DurationMilliseconds, MaxDuration)
	}
	if r.MaxFlows < 0 || r.MaxFlows > MaxFlows {
		return fmt.Errorf("%w: maxFlows %d is not between 0 and %d", ErrInvalidRequest, r.MaxFlows, MaxFlows)
	}
	if r.PodUID == "" {
		return fmt.Errorf("%w: podUID is empty", ErrInvalidRequest)
	}
	return r.Flow.validate()
}

func (f Flow) validate() error {
	switch f.From {
	case FromAny, FromGuest, FromOutside, FromPod:
	default:
		return fmt.Errorf("%w: flow.from %q is not guest, outside or pod", ErrInvalidRequest, f.From)
	}
	switch f.Protocol {
	case ProtocolAny, ProtocolTCP, ProtocolUDP:
	case ProtocolICMP, ProtocolICMPv6:
		if f.SourcePort != 0 || f.DestinationPort != 0 {
			return fmt.Errorf("%w: %s has no ports", ErrInvalidRequest, f.Protocol)
		}
	default:
		return fmt.Errorf("%w: flow.protocol %q is not tcp, udp, icmp or icmpv6", ErrInvalidRequest, f.Protocol)
	}
	source, err := address("flow.source", f.Source)
	if err != nil {
		return err
	}
	destination, err := address("flow.destination", f.Destination)
	if err != nil {
		return err
	}
	if source.IsValid() && destination.IsValid() && source.Is4() != destination.Is4() {
		return fmt.Errorf("%w: flow.source and flow.destination are of two families", ErrInvalidRequest)
	}
	return nil
}

// address parses an optional address. It returns the zero value for an empty
// text.
func address(field, text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: %s %q is not an IP address", ErrInvalidRequest, field, text)
	}
	return a.Unmap(), nil
}

// String returns a description of the flow.
func (f Flow) String() string {
	words := []string{"any protocol"}
	if f.Protocol != ProtocolAny {
		words[0] = string(f.Protocol)
	}
	if f.From != FromAny {
		words = append(words, f.From.Words())
	}
	endpoint := func(word, address string, port uint16) {
		if address != "" {
			words = append(words, word, address)
		}
		if port != 0 {
			words = append(words, word, fmt.Sprintf("port %d", port))
		}
	}
	endpoint("source", f.Source, f.SourcePort)
	endpoint("destination", f.Destination, f.DestinationPort)
	return strings.Join(words, " ")
}
