// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/strictjson"
)

// RequestVersion names the request format that this package writes and reads.
const RequestVersion = "meshvm.io/trace-request/v1"

// Limits of a request.
const (
	// MaxDuration bounds how long a trace runs.
	MaxDuration = 5 * time.Minute
	// MaxFlows bounds how many flows a trace reports.
	MaxFlows = 32
	// MaxRequestBytes bounds an encoded request.
	MaxRequestBytes = 64 << 10
	// maxInterfaceName is the longest name of an interface (linux/if.h,
	// IFNAMSIZ less the final zero).
	maxInterfaceName = 15
)

// From specifies where a flow begins.
type From string

const (
	// FromAny is any of the others.
	FromAny From = ""
	// FromGuest is a flow that the guest opens: it enters through the bridge.
	FromGuest From = "guest"
	// FromOutside is a flow from outside the pod: it enters through the pod's
	// interface.
	FromOutside From = "outside"
	// FromPod is a flow that a process in the pod opens, the proxy included.
	FromPod From = "pod"
)

// Protocol is a transport protocol by nft's name.
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

// Request describes what to follow, and where.
type Request struct {
	// Version is RequestVersion.
	Version string `json:"version"`
	// PodUID finds the pod's processes by their cgroup.
	PodUID string `json:"podUID"`
	// PodIPs are addresses of which at least one must be set on an interface
	// inside the namespace that is found; empty means that any will do.
	PodIPs []string `json:"podIPs,omitempty"`
	// PodInterface is the pod's primary interface; empty means "eth0".
	PodInterface string `json:"podInterface,omitempty"`
	// Bridge is the interface through which the guest's packets come; empty
	// means "k6t-" and the pod's interface.
	Bridge string `json:"bridge,omitempty"`
	// Proxy is the mesh proxy in the pod; empty fields mean Istio's.
	Proxy Proxy `json:"proxy,omitzero"`
	// Flow is what to follow.
	Flow Flow `json:"flow"`
	// DurationMilliseconds bounds the trace; 0 means 10 seconds.
	DurationMilliseconds int64 `json:"durationMilliseconds,omitempty"`
	// MaxFlows ends the trace early when so many flows have ended; 0 means 1.
	MaxFlows int `json:"maxFlows,omitempty"`
}

// Proxy describes the mesh proxy.
type Proxy struct {
	// UID is the number of the proxy's user, and of its group: Istio's sidecar
	// runs as both, its ztunnel as the group only.
	UID uint32 `json:"uid,omitempty"`
	// InboundPort takes redirected inbound TCP.
	InboundPort uint16 `json:"inboundPort,omitempty"`
	// OutboundPort takes the guest's redirected TCP.
	OutboundPort uint16 `json:"outboundPort,omitempty"`
	// TunnelPort takes inbound connections of other proxies (HBONE, Istio's
	// ambient data plane).
	TunnelPort uint16 `json:"tunnelPort,omitempty"`
}

// Flow describes flows by their first packet, as it enters the namespace. What
// is empty matches everything.
type Flow struct {
	// From is where the flow begins.
	From From `json:"from,omitempty"`
	// Protocol is the transport protocol.
	Protocol Protocol `json:"protocol,omitempty"`
	// Source is an address of the client.
	Source string `json:"source,omitempty"`
	// SourcePort is the client's port.
	SourcePort uint16 `json:"sourcePort,omitempty"`
	// Destination is the address that the client connects to.
	Destination string `json:"destination,omitempty"`
	// DestinationPort is the port that the client connects to.
	DestinationPort uint16 `json:"destinationPort,omitempty"`
}

// ErrInvalidRequest marks a request that no retry can make valid.
var ErrInvalidRequest = errors.New("invalid trace request")

// DecodeRequest reads a request and refuses unknown versions, unknown fields and
// trailing data with an error that wraps ErrInvalidRequest.
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

// Istio's and KubeVirt's usual values, for what a request leaves out.
const (
	defaultPodInterface = "eth0"
	defaultBridgePrefix = "k6t-"
	defaultProxyUID     = 1337
	defaultInboundPort  = 15006
	defaultOutboundPort = 15001
	defaultTunnelPort   = 15008
	defaultDuration     = 10 * time.Second
)

// WithDefaults fills in what the request leaves out.
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

// Duration is how long the trace runs at most.
func (r Request) Duration() time.Duration {
	return time.Duration(r.DurationMilliseconds) * time.Millisecond
}

// Validate refuses what cannot be traced, with an error that wraps
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

// address parses an optional address; the zero value stands for none.
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

// String describes the flow in words.
func (f Flow) String() string {
	words := []string{"any protocol"}
	if f.Protocol != ProtocolAny {
		words[0] = string(f.Protocol)
	}
	if f.From != FromAny {
		words = append(words, fromWords[f.From])
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
