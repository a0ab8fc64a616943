// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/trace"
)

func TestDeclared(t *testing.T) {
	flow := func(e trace.Ending, a trace.Answer) trace.FlowReport {
		return trace.FlowReport{Ending: e, Answer: a, Legs: []trace.Leg{{}}}
	}
	for _, tc := range []struct {
		name  string
		flows []trace.FlowReport
		want  bool
		next  string
	}{
		{"nothing seen", nil, false, "trace again"},
		{"answered", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerYes)}, true, "-o html"},
		{"answer not seen", []trace.FlowReport{flow(trace.EndingOutside, trace.AnswerUnknown)}, true, "-o html"},
		{"refused", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerRefused)}, false, "status NAME"},
		{"no answer", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerNone)}, false, "status NAME"},
		{"dropped", []trace.FlowReport{flow(trace.EndingDropped, trace.AnswerNone)}, false, "status NAME"},
		{"closed port", []trace.FlowReport{flow(trace.EndingNoListener, trace.AnswerRefused)}, false, "spec.ports"},
		{"the second flow", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerYes), flow(trace.EndingUnknown, trace.AnswerUnknown)}, false, "status NAME"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Result{trace.Result{Flows: tc.flows}}
			if got := r.Declared(); got != tc.want {
				t.Errorf("declared %t, want %t", got, tc.want)
			}
			if got := r.next(); !strings.Contains(got, tc.next) {
				t.Errorf("next %q, want a text with %q", got, tc.next)
			}
		})
	}
}
