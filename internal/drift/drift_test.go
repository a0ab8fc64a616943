// SPDX-License-Identifier: Apache-2.0

package drift_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/startgate"
)

const inode = 4026532000

func counters(captured, direct, dropped int64) v1alpha1.TrafficCounters {
	return v1alpha1.TrafficCounters{Captured: new(captured), Direct: new(direct), Dropped: new(dropped)}
}

// proven returns a configuration whose rules were read back, and an audit that
// started afterwards and found no difference.
func proven() (*v1alpha1.PodNATConfiguration, rulejob.AuditResult) {
	pod := builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Node("node-a").IP("10.244.0.7").Obj()
	c := builders.PodNAT("web", pod).Obj()
	c.Status.Applied = v1alpha1.AppliedRules{
		RequestDigest: "digest", NetnsInode: inode, Node: "node-a", BootID: "boot-1",
		SandboxTime: &metav1.Time{Time: builders.Epoch.Time}, Time: &metav1.Time{Time: builders.Epoch.Add(time.Minute)},
		Counters: counters(1, 1, 1),
	}
	return c, rulejob.AuditResult{
		Entry:  rulejob.EntryOf(c),
		Target: ruleio.TargetResult{Outcome: ruleio.OutcomeVerified, NetnsInode: inode, Counters: &ruleio.Counters{Captured: 1, Direct: 1, Dropped: 1}},
	}
}

func TestFromAudit(t *testing.T) {
	type change func(*v1alpha1.PodNATConfiguration, *rulejob.AuditResult)
	drifted := func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) {
		r.Target.Outcome, r.Target.Message = ruleio.OutcomeDrifted, "the table is missing"
	}
	ends := func(o ruleio.Outcome) change {
		return func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) {
			r.Target = ruleio.TargetResult{Outcome: o, Message: "why"}
		}
	}
	more := func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) { r.Target.Counters.Captured = 9 }
	tests := map[string]struct {
		changes []change
		reason  v1alpha1.ConditionReason
		counted bool
	}{
		"no difference":              {},
		"drifted":                    {[]change{drifted}, v1alpha1.ReasonDrifted, false},
		"drifted, with new counters": {[]change{drifted, more}, v1alpha1.ReasonDrifted, true},
		"new totals":                 {[]change{more}, "", true},
		"the first totals": {[]change{func(c *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) {
			c.Status.Applied.Counters, r.Entry.Counters = v1alpha1.TrafficCounters{}, v1alpha1.TrafficCounters{}
		}}, "", true},
		"another namespace": {[]change{more, func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) { r.Target.NetnsInode++ }}, v1alpha1.ReasonSandboxRecreated, false},
		"another namespace without a table": {
			[]change{drifted, func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) { r.Target.NetnsInode++ }},
			v1alpha1.ReasonSandboxRecreated, false,
		},
		"namespace of another pod": {[]change{ends(ruleio.OutcomeIdentityMismatch)}, v1alpha1.ReasonDrifted, false},
		"not read":                 {[]change{ends(ruleio.OutcomeFailed)}, "", false},
		"pod gone":                 {[]change{ends(ruleio.OutcomeTargetGone)}, "", false},
		"refused":                  {[]change{ends(ruleio.OutcomeInvalid)}, "", false},
		"result for another object of the same name": {[]change{drifted, more, func(_ *v1alpha1.PodNATConfiguration, r *rulejob.AuditResult) {
			r.Entry.UID = "other"
		}}, "", false},
		"result for the state before an edit": {[]change{drifted, more, func(c *v1alpha1.PodNATConfiguration, _ *rulejob.AuditResult) {
			c.Status.Applied.RequestDigest = "newer"
		}}, "", false},
		"result for the state before a repair": {[]change{drifted, more, func(c *v1alpha1.PodNATConfiguration, _ *rulejob.AuditResult) {
			c.Status.Repairs.Count, c.Status.Applied.Repair = 1, 1
		}}, "", false},
		"known drift, the repair is due": {[]change{drifted, more, func(c *v1alpha1.PodNATConfiguration, _ *rulejob.AuditResult) {
			c.Status.Repairs.Count = 1
		}}, "", false},
		"totals that were already added": {[]change{more, func(c *v1alpha1.PodNATConfiguration, _ *rulejob.AuditResult) {
			c.Status.Applied.Counters = counters(11, 1, 1)
		}}, "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, r := proven()
			for _, change := range tc.changes {
				change(c, &r)
			}
			change := drift.FromAudit(c.UID, &c.Status, r)
			reason := v1alpha1.ConditionReason("")
			if change.Finding != nil {
				reason = change.Finding.Reason
				if change.Finding.Message == "" {
					t.Error("the finding has no message")
				}
			}
			if reason != tc.reason || (change.Counters != nil) != tc.counted || change.IsZero() != (tc.reason == "" && !tc.counted) {
				t.Errorf("got %q, counters %v, want %q, %v", reason, change.Counters, tc.reason, tc.counted)
			}
		})
	}
}

func TestFromEvents(t *testing.T) {
	container := func(restarts int32, startedAt time.Duration) corev1.ContainerStatus {
		return corev1.ContainerStatus{RestartCount: restarts, State: corev1.ContainerState{
			Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(builders.Epoch.Add(startedAt))},
		}}
	}
	// An older kubelet does not report the sandbox.
	older := func(statuses ...corev1.ContainerStatus) func(*v1alpha1.AppliedRules, *corev1.Pod, *corev1.Node) {
		return func(a *v1alpha1.AppliedRules, p *corev1.Pod, _ *corev1.Node) {
			a.SandboxTime, p.Status.Conditions, p.Status.ContainerStatuses = nil, nil, statuses
		}
	}
	// The container that watches the gate exited, and may be running again.
	watched := func(code int32, finished time.Duration, again bool) func(*v1alpha1.AppliedRules, *corev1.Pod, *corev1.Node) {
		return func(_ *v1alpha1.AppliedRules, p *corev1.Pod, _ *corev1.Node) {
			ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: code, FinishedAt: metav1.NewTime(builders.Epoch.Add(finished)),
			}}
			c := corev1.ContainerStatus{Name: startgate.WatchContainer, State: ended}
			if again {
				c = container(1, finished)
				c.Name, c.LastTerminationState = startgate.WatchContainer, ended
			}
			p.Status.InitContainerStatuses = append(p.Status.InitContainerStatuses, c)
		}
	}
	tests := map[string]struct {
		change func(*v1alpha1.AppliedRules, *corev1.Pod, *corev1.Node)
		want   v1alpha1.ConditionReason
	}{
		"the gate was shut":              {watched(int32(ruleio.ExitRetryable), time.Hour, false), v1alpha1.ReasonDrifted},
		"the gate was shut, again":       {watched(int32(ruleio.ExitRetryable), time.Hour, true), v1alpha1.ReasonDrifted},
		"the gate was seen shut, before": {watched(int32(ruleio.ExitRetryable), time.Second, true), ""},
		"the watch container was killed": {watched(137, time.Hour, true), ""},
		"no event":                       {func(*v1alpha1.AppliedRules, *corev1.Pod, *corev1.Node) {}, ""},
		"another boot":                   {func(_ *v1alpha1.AppliedRules, _ *corev1.Pod, n *corev1.Node) { n.Status.NodeInfo.BootID = "boot-2" }, v1alpha1.ReasonNodeRebooted},
		"boot not reported":              {func(_ *v1alpha1.AppliedRules, _ *corev1.Pod, n *corev1.Node) { n.Status.NodeInfo.BootID = "" }, ""},
		"boot not known":                 {func(a *v1alpha1.AppliedRules, _ *corev1.Pod, _ *corev1.Node) { a.BootID = "" }, ""},
		"another sandbox": {func(_ *v1alpha1.AppliedRules, p *corev1.Pod, _ *corev1.Node) {
			p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(builders.Epoch.Add(time.Second))
		}, v1alpha1.ReasonSandboxRecreated},
		"sandbox not known": {func(a *v1alpha1.AppliedRules, _ *corev1.Pod, _ *corev1.Node) { a.SandboxTime = nil }, ""},
		"no rules written": {func(a *v1alpha1.AppliedRules, _ *corev1.Pod, n *corev1.Node) {
			a.RequestDigest, n.Status.NodeInfo.BootID = "", "boot-2"
		}, ""},
		"a container restarted, of two":         {older(container(1, time.Hour), container(0, 0)), ""},
		"all started for the first time, later": {older(container(0, time.Hour), container(0, time.Hour)), ""},
		"all restarted, before":                 {older(container(1, time.Second), container(2, time.Second)), ""},
		"all restarted":                         {older(container(1, time.Hour), container(2, time.Hour)), v1alpha1.ReasonSandboxRecreated},
		"none reported":                         {older(), ""},
		"restarted, but the kubelet reports sandboxes": {func(_ *v1alpha1.AppliedRules, p *corev1.Pod, _ *corev1.Node) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{container(1, time.Hour)}
		}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := proven()
			pod := builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Obj()
			node := builders.Node("node-a", true)
			node.Status.NodeInfo.BootID = "boot-1"
			tc.change(&c.Status.Applied, pod, node)
			var got v1alpha1.ConditionReason
			if f := drift.FromEvents(&c.Status, pod, node); f != nil {
				got = f.Reason
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	tests := map[string]struct {
		total, last, now, want v1alpha1.TrafficCounters
	}{
		"the first":         {v1alpha1.TrafficCounters{}, v1alpha1.TrafficCounters{}, counters(5, 2, 0), counters(5, 2, 0)},
		"grown":             {counters(5, 2, 0), counters(5, 2, 0), counters(7, 2, 1), counters(7, 2, 1)},
		"a second table":    {counters(105, 2, 0), counters(5, 2, 0), counters(7, 2, 1), counters(107, 2, 1)},
		"started from zero": {counters(105, 20, 3), counters(5, 2, 0), counters(1, 0, 0), counters(106, 20, 3)},
		"unchanged":         {counters(5, 2, 0), counters(5, 2, 0), counters(5, 2, 0), counters(5, 2, 0)},
		"partly reported":   {counters(5, 5, 5), counters(5, 5, 5), counters(6, 1, 5), counters(6, 6, 5)},
		"not reported":      {counters(5, 2, 0), counters(5, 2, 0), v1alpha1.TrafficCounters{}, counters(5, 2, 0)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, drift.Add(tc.total, tc.last, tc.now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
