// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ResultVersion is the result format that this package writes.
const ResultVersion = resultPrefix + "1"

// MaxResultBytes is the limit of a container's termination message
// (kubelet, pkg/kubelet/container, MaxContainerTerminationMessageLength).
const MaxResultBytes = 4096

// Outcome is the result of the operation on a target.
type Outcome string

const (
	// OutcomeApplied means that the table was written, and that the table that
	// was read back matches the plan.
	OutcomeApplied Outcome = "Applied"
	// OutcomeRemoved means that the target does not have a table of meshvm.
	OutcomeRemoved Outcome = "Removed"
	// OutcomeTargetGone means that no process of the pod runs on the node.
	OutcomeTargetGone Outcome = "TargetGone"
	// OutcomeIdentityMismatch means that the network namespace has none of the
	// pod's addresses. Nothing was written.
	OutcomeIdentityMismatch Outcome = "IdentityMismatch"
	// OutcomeUnsupported means that the node's kernel does not support the
	// rules, for example because inet nat chains are missing (Linux before
	// 5.2).
	OutcomeUnsupported Outcome = "Unsupported"
	// OutcomeInvalid means that the request was rejected.
	OutcomeInvalid Outcome = "Invalid"
	// OutcomeFailed means that writing or reading failed and that a retry can
	// succeed. The previous table is still in place.
	OutcomeFailed Outcome = "Failed"
	// OutcomeMismatch means that the table that was read back differs from the
	// table that was written.
	OutcomeMismatch Outcome = "Mismatch"
	// OutcomeVerified means that the table was read and matches the plan.
	OutcomeVerified Outcome = "Verified"
	// OutcomeDrifted means that the table was read and differs from the plan,
	// or that it does not exist. Message describes the differences. Nothing was
	// written.
	OutcomeDrifted Outcome = "Drifted"
)

// ExitCode is the exit status of the rule-writer. The Job's podFailurePolicy
// evaluates it: terminal and gone terminate the Job, and retryable retries it.
type ExitCode int

const (
	// ExitOK means that every target was handled and verified.
	ExitOK ExitCode = 0
	// ExitRetryable means that at least one target can succeed in a retry.
	ExitRetryable ExitCode = 10
	// ExitTerminal means that no retry of the same request can succeed.
	ExitTerminal ExitCode = 11
	// ExitTargetGone means that the only failures are targets that no longer
	// exist.
	ExitTargetGone ExitCode = 12
)

// Result is the result of a request.
type Result struct {
	// Version is ResultVersion.
	Version string `json:"version"`
	// RequestDigest is DigestOf the received request.
	RequestDigest string `json:"requestDigest"`
	// Message contains the reason if no target was handled.
	Message string `json:"message,omitempty"`
	// Targets contains one entry for each target of the request, in the same
	// order.
	Targets []TargetResult `json:"targets,omitempty"`
}

// TargetResult is the result for one target.
type TargetResult struct {
	// PodUID is the UID in the request.
	PodUID string `json:"podUID"`
	// Outcome is the result of the operation.
	Outcome Outcome `json:"outcome"`
	// TableDigest is the SHA-256 digest, in hexadecimal, of the normalized
	// table that was read back from the kernel. It is empty if nothing was read
	// back.
	TableDigest string `json:"tableDigest,omitempty"`
	// NetnsInode identifies the network namespace (the inode of its
	// /proc/PID/ns/net). A recreated sandbox has a new network namespace.
	NetnsInode uint64 `json:"netnsInode,omitempty"`
	// Rules is the number of rules that were read back.
	Rules int `json:"rules,omitempty"`
	// DurationMicroseconds is the time from entering the namespace until the
	// table was read back.
	DurationMicroseconds int64 `json:"durationMicroseconds,omitempty"`
	// Counters are totals of the table that was read back by OperationApply or
	// OperationVerify. They restart at zero whenever the table is written.
	Counters *Counters `json:"counters,omitempty"`
	// Proxy is the state of the target's proxy, read by OperationVerify.
	Proxy *ProxyState `json:"proxy,omitempty"`
	// ResetFlows is the number of established flows that were terminated
	// because of Target.Reset.
	ResetFlows int `json:"resetFlows,omitempty"`
	// Message explains outcomes other than Applied, Removed and Verified in one
	// short sentence without volatile parts.
	Message string `json:"message,omitempty"`
}

// Counters are totals of rule counters. Captured and Direct count connections,
// because only the first packet of a connection traverses nat chains. Dropped
// counts packets.
type Counters struct {
	// Captured is the number of connections that were redirected to the mesh
	// proxy.
	Captured uint64 `json:"captured"`
	// Direct is the number of connections that bypassed the proxy.
	Direct uint64 `json:"direct"`
	// Dropped is the number of packets that were dropped.
	Dropped uint64 `json:"dropped"`
}

// ExitCode returns the class of exit status for the outcome of one target.
func (o Outcome) ExitCode() ExitCode {
	switch o {
	case OutcomeApplied, OutcomeRemoved, OutcomeVerified, OutcomeDrifted:
		return ExitOK // Finding drift is a successful audit.
	case OutcomeTargetGone:
		return ExitTargetGone
	case OutcomeUnsupported, OutcomeInvalid:
		return ExitTerminal
	case OutcomeIdentityMismatch, OutcomeFailed, OutcomeMismatch:
		return ExitRetryable
	default:
		return ExitRetryable
	}
}

// ExitCode returns the exit status for the result: retryable if a retry of any
// target can succeed, otherwise terminal if any target failed permanently,
// otherwise gone if any target is gone, otherwise OK.
func (r Result) ExitCode() ExitCode {
	if len(r.Targets) == 0 {
		return ExitTerminal
	}
	seen := map[ExitCode]bool{}
	for _, t := range r.Targets {
		seen[t.Outcome.ExitCode()] = true
	}
	for _, c := range []ExitCode{ExitRetryable, ExitTerminal, ExitTargetGone} {
		if seen[c] {
			return c
		}
	}
	return ExitOK
}

// ErrInvalidResult indicates a termination message that is not a result.
var ErrInvalidResult = errors.New("invalid result")

// Encode returns the JSON encoding with at most MaxResultBytes. If necessary,
// it omits the details of targets that were verified without differences, then
// shortens messages, replaces the states of proxies by an error, and finally omits
// messages.
func (r Result) Encode() ([]byte, error) {
	r.Targets = append([]TargetResult(nil), r.Targets...)
	b, err := r.within(512)
	if len(b) <= MaxResultBytes {
		return b, err
	}
	for i := range r.Targets {
		if t := &r.Targets[i]; t.Outcome == OutcomeVerified || t.Outcome == OutcomeDrifted {
			t.TableDigest, t.Rules, t.DurationMicroseconds = "", 0, 0
		}
	}
	for _, limit := range []int{512, 128, 48} {
		if b, err := r.within(limit); len(b) <= MaxResultBytes {
			return b, err
		}
	}
	for i := range r.Targets {
		if t := &r.Targets[i]; t.Proxy != nil {
			t.Proxy = &ProxyState{Kind: t.Proxy.Kind, Error: "no space in the result"}
		}
	}
	for _, limit := range []int{48, 0} {
		if b, err := r.within(limit); len(b) <= MaxResultBytes {
			return b, err
		}
	}
	return nil, fmt.Errorf("%w: %d targets do not fit in %d bytes", ErrInvalidResult, len(r.Targets), MaxResultBytes)
}

// within returns the JSON encoding with messages of at most limit characters.
func (r Result) within(limit int) ([]byte, error) {
	r.Message = shorten(r.Message, limit)
	for i := range r.Targets {
		r.Targets[i].Message = shorten(r.Targets[i].Message, limit)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return b, nil
}

func shorten(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	if limit == 0 {
		return ""
	}
	return string(r[:limit-1]) + "…"
}

// DecodeResult decodes a termination message. It ignores unknown fields,
// because a newer rule-writer can add fields.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	if err := checkVersion(r.Version, resultPrefix, resultFormat); err != nil {
		return r, fmt.Errorf("%w: %w", ErrInvalidResult, err)
	}
	return r, nil
}
