// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/controllers/audit"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// every sets the interval of audits.
func every(d time.Duration) func(*controllers.Options) {
	return func(o *controllers.Options) { o.AuditInterval = audit.Every(d) }
}

// tables simulates the kernels that audits read. Its state applies to all pods,
// or to a single pod.
type tables struct {
	mu       sync.Mutex
	drift    string
	only     string
	counters ruleio.Counters
	state    *ruleio.ProxyState
	audits   int
	// sizes are the numbers of targets of the audits.
	sizes []int
}

// become changes the state of the kernels.
func (k *tables) become(drift string, counters ruleio.Counters) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drift, k.counters = drift, counters
}

// proxy changes the state of the proxies in the pods.
func (k *tables) proxy(state *ruleio.ProxyState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = state
}

func (k *tables) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.audits
}

func (k *tables) answered(targets int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.audits++
	k.sizes = append(k.sizes, targets)
}

func (k *tables) verify(request ruleio.Request) []ruleio.TargetResult {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []ruleio.TargetResult
	for _, t := range request.Targets {
		r := ruleio.TargetResult{PodUID: t.PodUID, Outcome: ruleio.OutcomeVerified, NetnsInode: 4026532000, Proxy: k.state}
		if k.drift == "" || k.only != "" && k.only != t.PodUID {
			counters := k.counters
			r.Counters = &counters
		} else {
			r.Outcome, r.Message = ruleio.OutcomeDrifted, k.drift
		}
		out = append(out, r)
	}
	return out
}

// answerAudits answers audits like the nodes until the end of the test.
func (s *suite) answerAudits() *tables {
	s.Helper()
	k := &tables{}
	// The nodes continue while the test is cleaned up.
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond):
				s.answerOnce(ctx, k)
			}
		}
	}()
	s.Cleanup(func() { cancel(); <-done })
	return k
}

func (s *suite) answerOnce(ctx context.Context, k *tables) {
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(operatorNamespace), client.HasLabels{v1alpha1.LabelAuditNode}); err != nil {
		return // The test is over.
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Status.Phase != corev1.PodPending || !p.DeletionTimestamp.IsZero() {
			continue
		}
		encoded := []byte(p.Annotations[v1alpha1.AnnotationRuleRequest])
		request, err := ruleio.DecodeRequest(encoded)
		if err != nil {
			s.Errorf("decode the request of an audit: %v", err)
			return
		}
		for _, t := range request.Targets {
			if t.Operation != ruleio.OperationVerify {
				s.Errorf("operation of an audit is %s", t.Operation)
			}
		}
		after := p.DeepCopy()
		if err := terminate(after, ruleio.Result{Version: ruleio.ResultVersion, RequestDigest: ruleio.DigestOf(encoded), Targets: k.verify(request)}); err != nil {
			s.Errorf("encode the result of an audit: %v", err)
			return
		}
		if err := s.Status().Patch(ctx, after, client.MergeFrom(p)); err == nil { // The next iteration tries again.
			k.answered(len(request.Targets))
		}
	}
}

// awaitAudits waits until the given number of further audits were answered.
func (s *suite) awaitAudits(k *tables, more int) {
	s.Helper()
	first := k.count()
	s.eventually(fmt.Sprintf("%d audits were created", more), func() error {
		if n := k.count() - first; n < more {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
}

// repair simulates the repair of a drift: the rule-writer runs, and the kernels of the
// audits have rules without drift and these counters. No audit of the pod runs while its
// repair is due, so the kernels change before the rule-writer ends: an audit that follows
// the repair would find the drift again.
func (s *suite) repair(kernel *tables, owner types.UID, counters ruleio.Counters) {
	s.Helper()
	s.writer(owner, ruleio.OperationApply)
	kernel.become("", counters)
	s.runWriter(owner, ruleio.OperationApply, ruleio.OutcomeApplied)
}

// metric returns the sum of a metric over its labels.
func (s *suite) metric(name string) (sum float64) {
	s.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestDriftIsDetectedAndRepaired(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	s.awaitAudits(kernel, 1)
	found, repaired := s.metric("meshvm_drift_found_total"), s.metric("meshvm_repairs_total")

	kernel.become("the table is missing", ruleio.Counters{})
	since := time.Now()
	nat := s.awaitNAT(pod,
		want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonDrifted},
		want{v1alpha1.ConditionReconciling, yes, ""})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonDrifted}, want{v1alpha1.ConditionReady, no, ""})
	t.Logf("drift in status after %s", time.Since(since).Round(time.Millisecond))
	s.repair(kernel, nat.UID, ruleio.Counters{})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitAudits(kernel, 2)
	nat = s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, v1alpha1.ReasonProgrammed})
	if r := nat.Status.Repairs; r.Count != 1 || r.LastReason != v1alpha1.ReasonDrifted || r.LastMessage != "the table is missing" || nat.Status.Applied.Repair != 1 {
		t.Errorf("after one repair: %+v, applied for %d", r, nat.Status.Applied.Repair)
	}
	if f, r := s.metric("meshvm_drift_found_total")-found, s.metric("meshvm_repairs_total")-repaired; f != 1 || r != 1 {
		t.Errorf("metrics count %v drifts and %v repairs, want one of each", f, r)
	}
}

// otherWrites are the operator's writes except for Jobs and events.
func (s *suite) otherWrites() []string {
	var out []string
	for line := range strings.Lines(s.calls.table()) {
		f := strings.Fields(line)
		if verb, resource := f[0], f[1]; verb != "get" && verb != "list" && verb != "watch" && resource != "jobs" && resource != "events" {
			out = append(out, strings.Join(f, " "))
		}
	}
	return out
}

func TestIdleAuditsWriteOnlyJobs(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	// The first counters are new, even if no traffic has passed.
	s.awaitCounters(pod, 0)
	s.awaitAudits(kernel, 1)
	before, beforeMVM := s.awaitNAT(pod), s.mvm(o.Name)
	s.calls.reset(nil)
	const audits = 6
	s.awaitAudits(kernel, audits)
	if w := s.otherWrites(); len(w) > 0 {
		t.Errorf("writes without changes: %q", w)
	}
	if after := s.awaitNAT(pod); after.ResourceVersion != before.ResourceVersion || s.mvm(o.Name).ResourceVersion != beforeMVM.ResourceVersion {
		t.Error("a status was written without changes")
	}
	t.Logf("API calls of the operator in %d audits of an idle node:\n%s", audits, s.calls.table())

	// Changed counters are written, and totals continue when the table is
	// written again.
	s.calls.reset(nil)
	kernel.become("", ruleio.Counters{Captured: 5, Direct: 2})
	s.awaitCounters(pod, 5)
	s.awaitAudits(kernel, 3)
	// A patch is repeated without effect if the cache does not contain it yet.
	if w := s.otherWrites(); len(w) != 1 || s.calls.count("patch", "podnatconfigurations/status") > 2 {
		t.Errorf("new totals took %q, want one patch", w)
	}
	kernel.become("the table is missing", ruleio.Counters{})
	s.repair(kernel, before.UID, ruleio.Counters{Captured: 3})
	nat := s.awaitCounters(pod, 8)
	if c, a := nat.Status.Counters, nat.Status.Applied.Counters; ptr.Deref(c.Direct, -1) != 2 || ptr.Deref(c.Dropped, -1) != 0 || ptr.Deref(a.Captured, -1) != 3 {
		t.Errorf("totals %+v, of this table %+v", c, a)
	}
	s.eventually("all audit Jobs are deleted", func() error {
		if n := s.auditJobs(); n > 1 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

func (s *suite) awaitCounters(pod *corev1.Pod, captured int64) *v1alpha1.PodNATConfiguration {
	s.Helper()
	var nat *v1alpha1.PodNATConfiguration
	s.eventually("the counters are in status", func() error {
		nat = s.awaitNAT(pod)
		if n := ptr.Deref(nat.Status.Counters.Captured, -1); n != captured {
			return fmt.Errorf("captured is %d, want %d", n, captured)
		}
		return nil
	})
	return nat
}

// auditJobs counts the audits of pods of this test. An audit of a previous test
// can still exist.
func (s *suite) auditJobs() (n int) {
	s.Helper()
	var jobs batchv1.JobList
	if err := s.List(s.Context(), &jobs, client.InNamespace(operatorNamespace), client.HasLabels{v1alpha1.LabelAuditNode}); err != nil {
		s.Fatal(err)
	}
	for i := range jobs.Items {
		for _, e := range rulejob.AuditEntries(&jobs.Items[i]) {
			if e.Key().Namespace == s.namespace {
				n++
				break
			}
		}
	}
	return n
}

func TestPausedSuspendsRepairs(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	annotate := func(value string) {
		before := s.mvm(o.Name)
		after := before.DeepCopy()
		after.Annotations = map[string]string{v1alpha1.AnnotationPaused: value}
		if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	annotate("true")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPaused, yes, ""})
	kernel.become("the table is missing", ruleio.Counters{})
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonDrifted})
	s.quiet()
	if n := len(s.jobs(nat.UID)); n > 0 {
		t.Errorf("%d Jobs while paused", n)
	}
	annotate("false")
	s.repair(kernel, nat.UID, ruleio.Counters{})
	s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, v1alpha1.ReasonProgrammed})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestRepairAfterEvents(t *testing.T) {
	s := start(t, every(0))
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	if a := nat.Status.Applied; a.Node != "node-a" || a.BootID != "first-boot" || a.SandboxTime == nil {
		t.Fatalf("applied does not contain the boot ID and the sandbox time: %+v", a)
	}
	repaired := func(t *testing.T, count int32, reason v1alpha1.ConditionReason) {
		t.Helper()
		s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, reason})
		s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
		s.awaitNoJobs(nat)
		s.quiet()
		got := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, v1alpha1.ReasonProgrammed}).Status
		if got.Repairs.Count != count || got.Repairs.LastReason != reason || got.Applied.Repair != count || got.Repairs.Recent != 0 {
			t.Errorf("after the repair: %+v, applied for %d", got.Repairs, got.Applied.Repair)
		}
	}
	sandbox := func(status corev1.ConditionStatus, at time.Time) {
		s.podIs(pod, func(st *corev1.PodStatus) {
			st.Conditions[0].Status, st.Conditions[0].LastTransitionTime = status, metav1.NewTime(at)
		})
	}
	t.Run("sandbox recreated under the same UID and address", func(t *testing.T) {
		sandbox(corev1.ConditionFalse, time.Now().Add(2*time.Second))
		s.awaitNAT(pod, want{v1alpha1.ConditionTargetResolved, no, v1alpha1.ReasonSandboxNotReady})
		sandbox(corev1.ConditionTrue, time.Now().Add(4*time.Second))
		repaired(t, 1, v1alpha1.ReasonSandboxRecreated)
	})
	t.Run("node rebooted", func(t *testing.T) {
		s.boot("node-a", "second-boot")
		repaired(t, 2, v1alpha1.ReasonNodeRebooted)
	})
	if n := s.auditJobs(); n > 0 {
		t.Errorf("%d audit Jobs although audits are disabled", n)
	}
}
