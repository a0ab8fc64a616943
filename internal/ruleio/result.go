// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ResultVersion names the result format that this package writes.
const ResultVersion = resultPrefix + "1"

// MaxResultBytes is the limit of a container's termination message
// (kubelet, pkg/kubelet/container, MaxContainerTerminationMessageLength).
const MaxResultBytes = 4096

// Outcome describes how a target ended.
type Outcome string

const (
	// OutcomeApplied means that the table was written, read back and found
	// equal to the plan.
	OutcomeApplied Outcome = "Applied"
	// OutcomeRemoved means that the target has no table of meshvm.
	OutcomeRemoved Outcome = "Removed"
	// OutcomeTargetGone means that no process of the pod was found on the
	// node.
	OutcomeTargetGone Outcome = "TargetGone"
	// OutcomeIdentityMismatch means that the namespace found has none of the
	// pod's addresses: nothing was written.
	OutcomeIdentityMismatch Outcome = "IdentityMismatch"
	// OutcomeUnsupported means that the node's kernel cannot hold the rules,
	// for example for want of inet nat chains (Linux before 5.2).
	OutcomeUnsupported Outcome = "Unsupported"
	// OutcomeInvalid means that the request itself was refused.
	OutcomeInvalid Outcome = "Invalid"
	// OutcomeFailed means that writing or reading failed in a way that may
	// go better next time; an older table is still in place.
	OutcomeFailed Outcome = "Failed"
	// OutcomeMismatch means that the table read back differs from the one
	// written.
	OutcomeMismatch Outcome = "Mismatch"
	// OutcomeVerified means that the table was read and found equal to the
	// plan.
	OutcomeVerified Outcome = "Verified"
	// OutcomeDrifted means that the table was read and found to differ from
	// the plan, or that there is none; Message describes what differs. Nothing
	// was written.
	OutcomeDrifted Outcome = "Drifted"
)

// ExitCode is the rule-writer's exit status. The Job's podFailurePolicy maps
// it: terminal and gone end the Job, retryable is tried again.
type ExitCode int

const (
	// ExitOK means that every target was handled and proven.
	ExitOK ExitCode = 0
	// ExitRetryable means that at least one target may succeed when tried again.
	ExitRetryable ExitCode = 10
	// ExitTerminal means that no retry of the same request can succeed.
	ExitTerminal ExitCode = 11
	// ExitTargetGone means that every target that was not handled is gone.
	ExitTargetGone ExitCode = 12
)

// Result is what the rule-writer did and saw.
type Result struct {
	// Version is ResultVersion.
	Version string `json:"version"`
	// RequestDigest is DigestOf the request as received.
	RequestDigest string `json:"requestDigest"`
	// Message explains why no target was handled at all; empty otherwise.
	Message string `json:"message,omitempty"`
	// Targets has one entry for each target of the request, in its order.
	Targets []TargetResult `json:"targets,omitempty"`
}

// TargetResult is the ending of one target.
type TargetResult struct {
	// PodUID is that of the request.
	PodUID string `json:"podUID"`
	// Outcome is how it ended.
	Outcome Outcome `json:"outcome"`
	// TableDigest is the hex SHA-256 of the normalised table as read back
	// from the kernel; empty when nothing was read back.
	TableDigest string `json:"tableDigest,omitempty"`
	// NetnsInode identifies the network namespace (the inode of its
	// /proc/PID/ns/net); a recreated sandbox has another one.
	NetnsInode uint64 `json:"netnsInode,omitempty"`
	// Rules is the number of rules read back.
	Rules int `json:"rules,omitempty"`
	// DurationMicroseconds is the time from entering the namespace to the
	// end of the read-back.
	DurationMicroseconds int64 `json:"durationMicroseconds,omitempty"`
	// Counters are totals of the table read back, of OperationApply and
	// OperationVerify. They begin at zero whenever the table is written.
	Counters *Counters `json:"counters,omitempty"`
	// ResetFlows is the number of established flows that were ended for
	// Target.Reset.
	ResetFlows int `json:"resetFlows,omitempty"`
	// Message explains an outcome other than Applied, Removed and Verified,
	// in one short sentence without volatile parts.
	Message string `json:"message,omitempty"`
}

// Counters are totals of what the rules of a table have counted: connections
// for Captured and Direct, because only the first packet of a connection passes
// nat chains, and packets for Dropped.
type Counters struct {
	// Captured are connections that were sent to the mesh proxy.
	Captured uint64 `json:"captured"`
	// Direct are connections that were sent bypassing the proxy.
	Direct uint64 `json:"direct"`
	// Dropped are packets that were dropped.
	Dropped uint64 `json:"dropped"`
}

// ExitCode maps the outcome of one target to the class of the process's exit.
func (o Outcome) ExitCode() ExitCode {
	switch o {
	case OutcomeApplied, OutcomeRemoved, OutcomeVerified, OutcomeDrifted:
		return ExitOK // A drift found is what the audit was for.
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

// ExitCode is the exit status for the whole result: retryable if any target
// may still succeed, else terminal if any target failed for good, else gone if
// any is gone, else OK.
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

// ErrInvalidResult marks a termination message that is not a result.
var ErrInvalidResult = errors.New("invalid result")

// Encode returns the JSON form, at most MaxResultBytes long. Of targets that
// were only looked at, what reports nothing about a difference goes first; then
// messages are shortened, and at last left out.
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
	for _, limit := range []int{512, 128, 48, 0} {
		if b, err := r.within(limit); len(b) <= MaxResultBytes {
			return b, err
		}
	}
	return nil, fmt.Errorf("%w: %d targets do not fit in %d bytes", ErrInvalidResult, len(r.Targets), MaxResultBytes)
}

// within is the JSON form with messages of at most limit characters.
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

// DecodeResult reads a termination message. Unknown fields are ignored: a
// newer rule-writer may report more.
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
