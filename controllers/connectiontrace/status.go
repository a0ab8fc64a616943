// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"cmp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/flowio"
	"meshvm.io/meshvm/internal/printable"
	"meshvm.io/meshvm/internal/rulejob"
)

// Limits of the status, which are those of the schema.
const (
	maxFlows   = 8
	maxText    = 1024
	maxWord    = 32
	maxAddress = 64
)

// outcomes maps the outcomes of the tracer to reasons of the condition Complete.
var outcomes = map[string]v1alpha1.ConditionReason{
	"Traced":      v1alpha1.ReasonTraced,
	"NothingSeen": v1alpha1.ReasonNothingSeen,
	"Busy":        v1alpha1.ReasonTraceBusy,
	"TargetGone":  v1alpha1.ReasonTargetGone,
	"Unsupported": v1alpha1.ReasonKernelUnsupported,
}

func (s *scope) ttl() time.Duration {
	return time.Duration(cmp.Or(s.trace.Spec.TTLSecondsAfterFinished, v1alpha1.DefaultTraceTTLSeconds)) * time.Second
}

func (s *scope) set(accepted, complete conditions.Condition) {
	st := &s.trace.Status
	st.ObservedGeneration = s.trace.Generation
	st.Conditions = conditions.Merge(st.Conditions, s.trace.Generation, accepted, complete)
}

func acceptedCondition() conditions.Condition {
	return conditions.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "the trace is accepted")
}

// block reports why the trace does not start. It gives up a trace that cannot start.
func (s *scope) block(now time.Time, o *obstacle) ctrl.Result {
	age := now.Sub(s.trace.CreationTimestamp.Time)
	switch {
	case o.reason != "" && (o.final || age > grace):
		s.refuse(now, o)
		return ctrl.Result{}
	case o.reason == "" && age > maxWait:
		s.complete(now, v1alpha1.ReasonTraceBusy, "the trace could not start within "+maxWait.String()+": "+o.message)
		return ctrl.Result{}
	default:
		accepted, wait := acceptedCondition(), poll
		if o.reason != "" {
			accepted, wait = conditions.False(v1alpha1.ConditionAccepted, o.reason, o.message), grace/4
		}
		s.set(accepted, conditions.False(v1alpha1.ConditionComplete, v1alpha1.ReasonTraceWaiting, o.message))
		return ctrl.Result{RequeueAfter: wait}
	}
}

// start reports that the Job was created.
func (s *scope) start(at time.Time) {
	s.trace.Status.StartTime = new(metav1.NewTime(at))
	s.tracing("")
}

func (s *scope) tracing(message string) {
	s.set(acceptedCondition(), conditions.False(v1alpha1.ConditionComplete, v1alpha1.ReasonTracing, cmp.Or(message, "the trace is running: open a connection")))
}

// refuse ends a trace that is not accepted.
func (s *scope) refuse(now time.Time, o *obstacle) {
	s.end(now)
	s.set(conditions.False(v1alpha1.ConditionAccepted, o.reason, o.message), conditions.True(v1alpha1.ConditionComplete, o.reason, o.message))
}

// complete ends a trace that was accepted.
func (s *scope) complete(now time.Time, reason v1alpha1.ConditionReason, message string) {
	s.end(now)
	s.set(acceptedCondition(), conditions.True(v1alpha1.ConditionComplete, reason, message))
}

func (s *scope) end(now time.Time) {
	s.trace.Status.CompletionTime = new(metav1.NewTime(now))
	s.trace.Status.ExpirationTime = new(metav1.NewTime(now.Add(s.ttl())))
}

// report writes the result of the tracer, which is not trusted, into the status.
func (s *scope) report(now time.Time, state rulejob.Trace) {
	if state.Summary == nil {
		s.complete(now, v1alpha1.ReasonTraceFailed, cmp.Or(state.Message, "the tracer ended without a result"))
		return
	}
	reason, known := outcomes[state.Summary.Outcome]
	if !known {
		reason = v1alpha1.ReasonTraceFailed
	}
	st := &s.trace.Status
	for _, f := range state.Summary.Flows[:min(len(state.Summary.Flows), maxFlows)] {
		st.Flows = append(st.Flows, verdictOf(f))
	}
	message := printable.Line(state.Summary.Message, maxText)
	if len(st.Flows) > 0 {
		st.Verdict = st.Flows[0].Summary
		message = cmp.Or(st.Verdict, message)
	}
	st.Result = state.Result
	s.complete(now, reason, cmp.Or(message, "the tracer reported no message"))
}

func verdictOf(f flowio.FlowSummary) v1alpha1.FlowVerdict {
	v := v1alpha1.FlowVerdict{
		Ending: printable.Line(f.Ending, maxWord), Answer: printable.Line(f.Answer, maxWord), Summary: printable.Line(f.Summary, maxText), Via: v1alpha1.PortViaDirect,
	}
	for origin, from := range origins {
		if from == f.From {
			v.From = origin
		}
	}
	if f.ViaProxy {
		v.Via = v1alpha1.PortViaMesh
	}
	if len(f.Legs) > 0 {
		l := f.Legs[0]
		v.Protocol, v.Source, v.Destination = printable.Line(l.Protocol, maxWord), printable.Line(l.Source, maxAddress), printable.Line(l.Destination, maxAddress)
	}
	return v
}
