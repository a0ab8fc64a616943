// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestResultRoundTrip(t *testing.T) {
	want := Result{
		Version: ResultVersion, RequestDigest: "abc",
		Targets: []TargetResult{{
			PodUID: "uid-1", Outcome: OutcomeApplied, TableDigest: "def", NetnsInode: 4026532000,
			Rules: 10, DurationMicroseconds: 1500,
		}},
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeResult(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// TestAuditFitsIntoATerminationMessage encodes an audit of a full node in which
// most pods match their plans. Their details are omitted.
func TestAuditFitsIntoATerminationMessage(t *testing.T) {
	r := Result{Version: ResultVersion, RequestDigest: strings.Repeat("a", 64)}
	for range 20 {
		r.Targets = append(r.Targets, TargetResult{
			PodUID: strings.Repeat("u", 36), Outcome: OutcomeVerified, TableDigest: strings.Repeat("d", 64), NetnsInode: 4026532000,
			Rules: 12, DurationMicroseconds: 900, Counters: &Counters{Captured: 123456, Direct: 1234},
		})
	}
	r.Targets[3].Outcome, r.Targets[3].Message = OutcomeDrifted, "rule 3 of chain prerouting is missing"
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeResult(b)
	if err != nil {
		t.Fatal(err)
	}
	if got.Targets[3].Message == "" || got.Targets[0].Counters == nil || got.Targets[0].NetnsInode == 0 {
		t.Errorf("the result without details is incomplete: %+v", got.Targets[:4])
	}
}

func TestResultFitsIntoATerminationMessage(t *testing.T) {
	long := strings.Repeat("ä", 10000)
	for name, tc := range map[string]struct {
		targets int
		fits    bool
	}{
		"no target":             {0, true},
		"one":                   {1, true},
		"ten":                   {10, true},
		"more targets than fit": {100, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := Result{Version: ResultVersion, RequestDigest: strings.Repeat("a", 64), Message: long}
			for range tc.targets {
				r.Targets = append(r.Targets, TargetResult{
					PodUID: strings.Repeat("u", 36), Outcome: OutcomeMismatch, TableDigest: strings.Repeat("d", 64), Message: long,
				})
			}
			b, err := r.Encode()
			if !tc.fits {
				if !errors.Is(err, ErrInvalidResult) {
					t.Errorf("error %v, want ErrInvalidResult", err)
				}
				return
			}
			if err != nil || len(b) > MaxResultBytes || !utf8.Valid(b) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			got, err := DecodeResult(b)
			if err != nil || len(got.Targets) != tc.targets {
				t.Errorf("decoded %d targets, %v, want %d", len(got.Targets), err, tc.targets)
			}
			for _, target := range r.Targets {
				if target.Message != long {
					t.Fatal("Encode changed the result")
				}
			}
		})
	}
}

func TestDecodeResult(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		bad  bool
	}{
		"newer field":   {text: `{"version":"` + ResultVersion + `","more":1}`},
		"other version": {text: `{"version":"meshvm.io/rule-result/v9"}`, bad: true},
		"no JSON":       {text: "panic: oh", bad: true},
		"empty":         {text: "", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeResult([]byte(tc.text)); errors.Is(err, ErrInvalidResult) != tc.bad {
				t.Errorf("error %v, want one: %t", err, tc.bad)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	for name, tc := range map[string]struct {
		outcomes []Outcome
		want     ExitCode
	}{
		"no target handled":     {nil, ExitTerminal},
		"all succeeded":         {[]Outcome{OutcomeApplied, OutcomeRemoved}, ExitOK},
		"one gone":              {[]Outcome{OutcomeApplied, OutcomeTargetGone}, ExitTargetGone},
		"one permanent failure": {[]Outcome{OutcomeTargetGone, OutcomeUnsupported}, ExitTerminal},
		"one invalid":           {[]Outcome{OutcomeInvalid, OutcomeApplied}, ExitTerminal},
		"one retryable failure": {[]Outcome{OutcomeInvalid, OutcomeTargetGone, OutcomeFailed}, ExitRetryable},
		"mismatch":              {[]Outcome{OutcomeMismatch}, ExitRetryable},
		"identity":              {[]Outcome{OutcomeIdentityMismatch}, ExitRetryable},
		"unknown outcome":       {[]Outcome{"Odd"}, ExitRetryable},
	} {
		t.Run(name, func(t *testing.T) {
			var r Result
			for _, o := range tc.outcomes {
				r.Targets = append(r.Targets, TargetResult{Outcome: o})
			}
			if got := r.ExitCode(); got != tc.want {
				t.Errorf("exit %d, want %d", got, tc.want)
			}
		})
	}
}
