// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ResultVersion names the result format that this package writes and reads.
const ResultVersion = "meshvm.io/trace-result/v1"

// Outcome describes how the trace itself ended.
type Outcome string

const (
	// OutcomeTraced means that at least one packet of the flow was seen.
	OutcomeTraced Outcome = "Traced"
	// OutcomeNothingSeen means that no packet of the flow came in time.
	OutcomeNothingSeen Outcome = "NothingSeen"
	// OutcomeBusy means that another trace runs in the pod.
	OutcomeBusy Outcome = "Busy"
	// OutcomeTargetGone means that no process of the pod was found.
	OutcomeTargetGone Outcome = "TargetGone"
	// OutcomeInvalid means that the request was refused.
	OutcomeInvalid Outcome = "Invalid"
	// OutcomeUnsupported means that the kernel cannot trace.
	OutcomeUnsupported Outcome = "Unsupported"
	// OutcomeFailed means that something else failed.
	OutcomeFailed Outcome = "Failed"
)

// Ending specifies where a connection's packets went.
type Ending string

const (
	// EndingGuest is the guest.
	EndingGuest Ending = "Guest"
	// EndingProxyInbound is the proxy's port for inbound connections.
	EndingProxyInbound Ending = "ProxyInbound"
	// EndingProxyOutbound is the proxy's port for outbound connections.
	EndingProxyOutbound Ending = "ProxyOutbound"
	// EndingPod is a process in the pod, the proxy's other ports included.
	EndingPod Ending = "Pod"
	// EndingOutside is somewhere outside the pod.
	EndingOutside Ending = "Outside"
	// EndingDropped is nowhere: a rule dropped the packet, or took it away.
	EndingDropped Ending = "Dropped"
	// EndingNoListener is the pod itself, where nothing listens.
	EndingNoListener Ending = "NoListener"
	// EndingUnknown means that too little was seen.
	EndingUnknown Ending = "Unknown"
)

// Answer describes what came back.
type Answer string

const (
	// AnswerYes means that the other end answered.
	AnswerYes Answer = "Answered"
	// AnswerRefused means that the connection was refused.
	AnswerRefused Answer = "Refused"
	// AnswerNone means that nothing came back while the trace ran.
	AnswerNone Answer = "None"
	// AnswerUnknown means that conntrack reported nothing.
	AnswerUnknown Answer = "Unknown"
)

// Result is what a trace saw.
type Result struct {
	// Version is ResultVersion.
	Version string `json:"version"`
	// PodUID is that of the request.
	PodUID string `json:"podUID,omitempty"`
	// NetnsInode identifies the network namespace.
	NetnsInode uint64 `json:"netnsInode,omitempty"`
	// Outcome is how the trace ended.
	Outcome Outcome `json:"outcome"`
	// Message reports more in one sentence.
	Message string `json:"message,omitempty"`
	// Flows are in the order in which they began.
	Flows []FlowReport `json:"flows,omitempty"`
	// Notes describe what may be missing from the report.
	Notes []string `json:"notes,omitempty"`
	// DurationMilliseconds is how long the trace ran.
	DurationMilliseconds int64 `json:"durationMilliseconds,omitempty"`
}

// FlowReport is the way of one flow.
type FlowReport struct {
	// From is where the flow began.
	From From `json:"from"`
	// Summary describes in words where the flow ended, and why.
	Summary string `json:"summary"`
	// Ending and Answer are those of the last leg.
	Ending Ending `json:"ending"`
	Answer Answer `json:"answer"`
	// ViaProxy reports whether the proxy took the flow.
	ViaProxy bool `json:"viaProxy"`
	// Proxy is "ztunnel" if that is the proxy that took the flow, empty for a
	// sidecar or none.
	Proxy string `json:"proxy,omitempty"`
	// BypassedBy is meshvm's rule that led the flow bypassing the proxy.
	BypassedBy *RuleRef `json:"bypassedBy,omitempty"`
	// DroppedBy is the rule or chain that dropped a packet of the flow.
	DroppedBy *RuleRef `json:"droppedBy,omitempty"`
	// Legs are the connections that the flow consists of: one, or two if the
	// proxy took it.
	Legs []Leg `json:"legs"`
	// Packets is how many first packets were seen: more than one are
	// repetitions, because no answer came.
	Packets int `json:"packets"`
}

// Leg is one connection.
type Leg struct {
	// Protocol, Source and Destination are those of the first packet as it
	// entered.
	Protocol    string `json:"protocol"`
	Source      string `json:"source"`
	Destination string `json:"destination"`
	// TranslatedSource and TranslatedDestination are those after all
	// translations, empty if they are the same.
	TranslatedSource      string `json:"translatedSource,omitempty"`
	TranslatedDestination string `json:"translatedDestination,omitempty"`
	// Ending is where the packets went.
	Ending Ending `json:"ending"`
	// Answer is what came back.
	Answer Answer `json:"answer"`
	// Likely marks a second leg that was joined by time alone.
	Likely bool `json:"likely,omitempty"`
	// Hops are the rules that the packet matched, in order.
	Hops []Hop `json:"hops,omitempty"`
}

// RuleRef names a rule.
type RuleRef struct {
	// Writer describes in words who wrote it.
	Writer string `json:"writer"`
	// Family, Table and Chain report where it is.
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	// Handle is the kernel's number of the rule, 0 for a chain's policy.
	Handle uint64 `json:"handle,omitempty"`
	// Text is the rule in nft's spelling.
	Text string `json:"text,omitempty"`
	// Comment is the rule's own.
	Comment string `json:"comment,omitempty"`
	// Repairs are the names of the repairs that the rule is part of.
	Repairs []string `json:"repairs,omitempty"`
}

// Hop is one step of a packet.
type Hop struct {
	RuleRef
	// Hook is where the base chain is, and Priority its place there.
	Hook     string `json:"hook,omitempty"`
	Priority int32  `json:"priority"`
	// Verdict is what the rule reported.
	Verdict string `json:"verdict"`
	// Packet has the addresses with which the packet came to the base chain.
	Packet string `json:"packet,omitempty"`
}

// ErrInvalidResult marks what is not a result.
var ErrInvalidResult = errors.New("invalid trace result")

// Encode returns the JSON form with at most limit bytes, 0 for any number. What
// does not fit is left out in this order: hops that decide nothing, all hops,
// flows from the last on.
func (r Result) Encode(limit int) ([]byte, error) {
	for _, shorter := range []func(Result) Result{
		func(r Result) Result { return r },
		func(r Result) Result { return r.withHops(func(h Hop) bool { return h.decides() }) },
		func(r Result) Result { return r.withHops(func(Hop) bool { return false }) },
	} {
		b, err := json.Marshal(shorter(r))
		if err != nil {
			return nil, fmt.Errorf("encode the trace: %w", err)
		}
		if limit == 0 || len(b) <= limit {
			return b, nil
		}
	}
	r = r.withHops(func(Hop) bool { return false })
	for len(r.Flows) > 0 {
		r.Flows = r.Flows[:len(r.Flows)-1]
		if b, err := json.Marshal(r); err == nil && len(b) <= limit {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: it does not fit in %d bytes", ErrInvalidResult, limit)
}

// withHops is a copy that has only some of the hops.
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

// DecodeResult reads a result. Unknown fields are ignored: a newer program may
// report more.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if r.Version != ResultVersion {
		return r, fmt.Errorf("%w: version %q, expected %q", ErrInvalidResult, r.Version, ResultVersion)
	}
	return r, nil
}
