// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"sync/atomic"
	"testing"
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/ruleio"
)

// clock is a clock of the operator that a test can advance.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// TestContention advances the clock to the end of the window, which is longer than the
// repairs take on a busy machine.
func TestContention(t *testing.T) {
	limits := drift.Limits{Drifts: 2, Window: 10 * time.Minute, Backoff: 100 * time.Millisecond}
	c := &clock{}
	s := start(t, every(time.Second), func(o *controllers.Options) { o.Limits, o.Now = limits, c.now })
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	kernel.become("rule 3 of chain prerouting is missing", ruleio.Counters{})
	nat := s.awaitNAT(pod)
	for range limits.Drifts {
		s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	}
	nat = s.awaitNAT(pod,
		want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonContended},
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonContended},
		want{v1alpha1.ConditionStalled, yes, v1alpha1.ReasonContended})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonContended}, want{v1alpha1.ConditionStalled, yes, ""})
	if r := nat.Status.Repairs; r.Count != 3 || r.Recent != 3 || nat.Status.Applied.Repair != 2 {
		t.Errorf("the condition is Contended after %+v, applied for %d", r, nat.Status.Applied.Repair)
	}
	// Nothing is written for the rest of the window, including the status.
	s.quiet()
	s.calls.reset(nil)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if n := len(s.jobs(nat.UID)); n > 0 {
			t.Fatalf("%d Jobs within the window", n)
		}
	}
	if n := s.calls.writeCount(); n > 0 {
		t.Errorf("%d writes while contended:\n%s", n, s.calls.table())
	}
	// It recovers automatically when the window ends, three seconds after the next reconcile.
	kernel.become("", ruleio.Counters{})
	end := nat.Status.Repairs.WindowStart.Add(limits.Window)
	c.ahead.Store(int64(time.Until(end.Add(-3 * time.Second))))
	s.annotate(pod, "test.meshvm.io/touch", "1")
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	if now := c.now(); now.Before(end) {
		t.Errorf("the rules were written at %s, the window ends at %s", now, end)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}
