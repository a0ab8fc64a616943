// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestRepairWithFailedWrites breaks each of the operator's writes between a
// drift and its repair, before it reaches the API server and after it was
// committed. The drift must be counted once.
func TestRepairWithFailedWrites(t *testing.T) {
	const writes = 6 // The Job of the audit, the status, the Job of the repair, the status, and the deletion of both Jobs.
	for at := 1; at <= writes; at++ {
		for _, committed := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d of %d, committed %v", at, writes, committed), func(t *testing.T) {
				s := start(t, every(time.Second))
				o := s.web()
				pod := s.converge(o)
				kernel := s.answerAudits()
				s.awaitCounters(pod, 0)
				nat := s.awaitNAT(pod)
				kernel.become("the table is missing", ruleio.Counters{})
				f := &fault{at: at, committed: committed}
				s.calls.reset(f)
				s.repair(kernel, nat.UID, ruleio.Counters{})
				s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
				s.awaitNoJobs(nat)
				s.awaitAudits(kernel, 1)
				if !f.done {
					t.Errorf("fewer than %d writes", at)
				}
				if st := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, ""}).Status; st.Repairs.Count != 1 || st.Applied.Repair != 1 || st.Attempts != 0 {
					t.Errorf("after the repair: %+v, applied for %d, attempts %d", st.Repairs, st.Applied.Repair, st.Attempts)
				}
			})
		}
	}
}

// TestLostAuditResult deletes audits before their nodes answer and makes an
// audit fail. The next audit must find the drift.
func TestLostAuditResult(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	s.eventually("an audit exists", func() error {
		var jobs batchv1.JobList
		if err := s.List(s.Context(), &jobs, client.InNamespace(operatorNamespace), client.HasLabels{v1alpha1.LabelAuditNode}); err != nil {
			return err
		}
		if len(jobs.Items) == 0 {
			return errors.New("not found")
		}
		return s.Delete(s.Context(), &jobs.Items[0], client.PropagationPolicy("Background"))
	})
	kernel := s.answerAudits()
	kernel.become("the table is missing", ruleio.Counters{})
	s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonDrifted})
}

// TestRepairAfterManagerRestart stops the operator while a repair is due.
func TestRepairAfterManagerRestart(t *testing.T) {
	env := shared.Get(t)
	s := startOn(t, env, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	kernel.become("the table is missing", ruleio.Counters{})
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonDrifted})
	s.restart(every(0))
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	st := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, v1alpha1.ReasonProgrammed}).Status
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if st.Repairs.Count != 1 || st.Applied.Repair != 1 {
		t.Errorf("after the repair: %+v, applied for %d", st.Repairs, st.Applied.Repair)
	}
}
