// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/json"
	"fmt"

	"meshvm.io/meshvm/internal/flowio"
)

// ResultVersion is the result format that this package writes and reads.
const ResultVersion = flowio.ResultVersion

// Outcome is the outcome of the trace.
type Outcome string

const (
	// OutcomeTraced means that at least one packet of the flow was seen.
	OutcomeTraced Outcome = "Traced"
	// OutcomeNothingSeen means that no packet of the flow was seen within the
	// time.
	OutcomeNothingSeen Outcome = "NothingSeen"
	// OutcomeBusy means that another trace is running in the pod.
	OutcomeBusy Outcome = "Busy"
	// OutcomeTargetGone means that no process of the pod was found.
	OutcomeTargetGone Outcome = "TargetGone"
	// OutcomeInvalid means that the request was rejected.
	OutcomeInvalid Outcome = "Invalid"
	// OutcomeUnsupported means that the kernel does not support rule tracing.
	OutcomeUnsupported Outcome = "Unsupported"
	// OutcomeFailed means that another error occurred.
	OutcomeFailed Outcome = "Failed"
)

// Ending is the destination that the packets of a connection reached.
type Ending string

const (
	// EndingGuest is the guest.
	EndingGuest Ending = "Guest"
	// EndingProxyInbound is the proxy's port for inbound connections.
	EndingProxyInbound Ending = "ProxyInbound"
	// EndingProxyOutbound is the proxy's port for outbound connections.
	EndingProxyOutbound Ending = "ProxyOutbound"
	// EndingPod is a process in the pod, or another port of the proxy.
	EndingPod Ending = "Pod"
	// EndingOutside is a destination outside the pod.
	EndingOutside Ending = "Outside"
	// EndingDropped means that a rule dropped or stole the packet.
	EndingDropped Ending = "Dropped"
	// EndingNoListener is a port of the pod on which no process listens.
	EndingNoListener Ending = "NoListener"
	// EndingUnknown means that not enough packets were seen.
	EndingUnknown Ending = "Unknown"
)

// Answer is the answer to the first packet.
type Answer string

const (
	// AnswerYes means that the other end answered.
	AnswerYes Answer = "Answered"
	// AnswerRefused means that the connection was refused.
	AnswerRefused Answer = "Refused"
	// AnswerNone means that no answer was received during the trace.
	AnswerNone Answer = "None"
	// AnswerUnknown means that conntrack did not report the connection.
	AnswerUnknown Answer = "Unknown"
)

// Result is the result of a trace.
type Result struct {
	// Version is ResultVersion.
	Version string `json:"version"`
	// PodUID is the UID in the request.
	PodUID string `json:"podUID,omitempty"`
	// NetnsInode identifies the network namespace.
	NetnsInode uint64 `json:"netnsInode,omitempty"`
	// Outcome is the outcome of the trace.
	Outcome Outcome `json:"outcome"`
	// Message is a sentence with details.
	Message string `json:"message,omitempty"`
	// Flows are in the order of their first packet.
	Flows []FlowReport `json:"flows,omitempty"`
	// Chains are the base chains of the network namespace. A leg's Visits are
	// derived from them.
	Chains []Chain `json:"chains,omitempty"`
	// Notes describe possible gaps of the report.
	Notes []string `json:"notes,omitempty"`
	// DurationMilliseconds is the duration of the trace.
	DurationMilliseconds int64 `json:"durationMilliseconds,omitempty"`
}

// FlowReport describes the path of one flow.
type FlowReport struct {
	// From is where the flow started.
	From From `json:"from"`
	// Summary describes where the flow ended and the reason.
	Summary string `json:"summary"`
	// Ending and Answer are the ending and the answer of the last leg.
	Ending Ending `json:"ending"`
	Answer Answer `json:"answer"`
	// ViaProxy reports whether the proxy accepted the flow.
	ViaProxy bool `json:"viaProxy"`
	// Proxy is "ztunnel" if ztunnel accepted the flow. It is empty for a
	// sidecar or without a proxy.
	Proxy string `json:"proxy,omitempty"`
	// BypassedBy is meshvm's rule by which the flow bypassed the proxy.
	BypassedBy *RuleRef `json:"bypassedBy,omitempty"`
	// DroppedBy is the rule or chain that dropped a packet of the flow.
	DroppedBy *RuleRef `json:"droppedBy,omitempty"`
	// Legs are the connections of the flow: one, or two if the proxy accepted
	// it.
	Legs []Leg `json:"legs"`
	// Packets is the number of first packets. More than one are repetitions due
	// to a missing answer.
	Packets int `json:"packets"`
}

// Leg is one connection.
type Leg struct {
	// Protocol, Source and Destination are the fields of the first packet as it
	// entered.
	Protocol    string `json:"protocol"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// TranslatedSource and TranslatedDestination are the addresses after all
	// translations. They are empty if they did not change.
	TranslatedSource      string `json:"translatedSource,omitempty"`
	TranslatedDestination string `json:"translatedDestination,omitempty"`
	// Ending is the destination that the packets reached.
	Ending Ending `json:"ending"`
	// Answer is the answer to the first packet.
	Answer Answer `json:"answer"`
	// Likely marks a second leg that was correlated only by time.
	Likely bool `json:"likely,omitempty"`
	// Hops are the rules that the packet matched, in order.
	Hops []Hop `json:"hops,omitempty"`
}

// RuleRef identifies a rule.
type RuleRef struct {
	// Writer is the name of the component that wrote the rule.
	Writer string `json:"writer"`
	// Family, Table and Chain are the location of the rule.
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	// Handle is the kernel's handle of the rule, or 0 for the policy of a
	// chain.
	Handle uint64 `json:"handle,omitempty"`
	// Text is the rule in nft's notation.
	Text string `json:"text,omitempty"`
	// Comment is the comment of the rule.
	Comment string `json:"comment,omitempty"`
	// Repairs are the names of the defects that the rule corrects.
	Repairs []string `json:"repairs,omitempty"`
}

// Hop is one step of a packet.
type Hop struct {
	RuleRef
	// Base is the name of the base chain if the rule is in another chain, which
	// was the target of a jump.
	Base string `json:"base,omitempty"`
	// Hook and Priority are the position of the base chain.
	Hook     string `json:"hook,omitempty"`
	Priority int32  `json:"priority"`
	// Verdict is the verdict of the rule.
	Verdict string `json:"verdict"`
	// Packet contains the addresses of the packet at the start of the base
	// chain.
	Packet string `json:"packet,omitempty"`
}

// ErrInvalidResult indicates data that is not a result.
var ErrInvalidResult = flowio.ErrInvalidResult

// Encode returns the JSON encoding with at most limit bytes, or without a limit
// if limit is 0. If necessary, it compresses the encoding (flowio.Pack) and
// omits, in this order: hops without a decision, the chains, all hops, flows
// from the end.
func (r Result) Encode(limit int) ([]byte, error) {
	for _, shorter := range []func(Result) Result{
		func(r Result) Result { return r },
		func(r Result) Result { return r.withHops(Hop.Decides) },
		func(r Result) Result { return r.withHops(Hop.Decides).withoutChains() },
		Result.withoutHops,
	} {
		b, err := json.Marshal(shorter(r))
		if err != nil {
			return nil, fmt.Errorf("encode the trace: %w", err)
		}
		if limit == 0 || len(b) <= limit {
			return b, nil
		}
		if len(b) > flowio.MaxResultBytes {
			continue // The reader would reject it.
		}
		if b, err = flowio.Pack(b); err != nil {
			return nil, err //nolint:wrapcheck // It names the trace.
		}
		if len(b) <= limit {
			return b, nil
		}
	}
	r = r.withoutHops()
	for len(r.Flows) > 0 {
		r.Flows = r.Flows[:len(r.Flows)-1]
		if b, err := json.Marshal(r); err == nil && len(b) <= limit {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: it does not fit in %d bytes", ErrInvalidResult, limit)
}

// withoutHops returns a copy without hops and chains.
func (r Result) withoutHops() Result {
	return r.withHops(func(Hop) bool { return false }).withoutChains()
}

func (r Result) withoutChains() Result {
	r.Chains = nil
	return r
}

// withHops returns a copy with only the selected hops.
func (r Result) withHops(keep func(Hop) bool) Result {
	flows := make([]FlowReport, len(r.Flows))
	for i, f := range r.Flows {
		legs := make([]Leg, len(f.Legs))
		for j, l := range f.Legs {
			var hops []Hop
			for _, h := range l.Hops {
				if keep(h) {
					hops = append(hops, h)
				}
			}
			l.Hops = hops
			legs[j] = l
		}
		f.Legs = legs
		flows[i] = f
	}
	r.Flows = flows
	return r
}

// DecodeResult decodes a result, which can be compressed. It ignores unknown fields, because a newer
// program can add fields.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	b, err := flowio.Unpack(b)
	if err != nil {
		return r, err //nolint:wrapcheck // It wraps ErrInvalidResult.
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if len(r.Flows) > MaxFlows {
		return r, fmt.Errorf("%w: %d flows, more than %d", ErrInvalidResult, len(r.Flows), MaxFlows)
	}
	for i, f := range r.Flows {
		if len(f.Legs) == 0 || len(f.Legs) > maxLegs {
			return r, fmt.Errorf("%w: flow %d has %d legs", ErrInvalidResult, i, len(f.Legs))
		}
	}
	return r, nil
}

// maxLegs is the maximum number of legs: the connection, and that of the proxy.
const maxLegs = 2
