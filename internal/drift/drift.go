// SPDX-License-Identifier: Apache-2.0

// Package drift decides when verified rules must be programmed again. It
// evaluates the results of audits and events of pods and nodes, and limits the
// number of repairs. It is pure.
//
// status.repairs.count is the number of repairs that were necessary, and
// status.applied.repair the count for which the rules in the pod were programmed. A
// repair is due while the two differ. No decision depends on clock synchronization.
package drift

import (
	"cmp"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/startgate"
)

// Finding is the reason for a repair.
type Finding struct {
	// Reason is Drifted, SandboxRecreated or NodeRebooted.
	Reason v1alpha1.ConditionReason
	// Message describes the difference.
	Message string
}

// Proven reports whether the status shows that the rules of the request were
// verified, and no drift was found since.
func Proven(st *v1alpha1.PodNATConfigurationStatus, requestDigest string) bool {
	return st.Applied.RequestDigest == requestDigest && !Due(st)
}

// Due reports whether a repair is necessary and has not been completed yet.
func Due(st *v1alpha1.PodNATConfigurationStatus) bool {
	return st.Applied.RequestDigest != "" && st.Applied.Repair != st.Repairs.Count
}

// Change is the part of an audit's result that the status does not contain yet.
type Change struct {
	// Finding is nil if the rules are correct or were not read.
	Finding *Finding
	// Counters is nil if the counters have not changed.
	Counters *v1alpha1.TrafficCounters
	// Proxy is nil if the state of the proxy has not changed or was not read.
	Proxy *v1alpha1.ProxyStatus
}

// IsZero reports whether the status already contains the entire result.
func (c Change) IsZero() bool { return c.Finding == nil && c.Counters == nil && c.Proxy == nil }

// FromAudit compares a result with the status. It ignores a result that is
// older than the state in the status.
func FromAudit(uid types.UID, st *v1alpha1.PodNATConfigurationStatus, r rulejob.AuditResult) Change {
	e, t := r.Entry, r.Target
	if e.UID != uid || e.RequestDigest != st.Applied.RequestDigest || e.Repair != st.Applied.Repair || Due(st) {
		return Change{}
	}
	var change Change
	switch t.Outcome {
	case ruleio.OutcomeVerified:
	case ruleio.OutcomeDrifted:
		change.Finding = &Finding{v1alpha1.ReasonDrifted, cmp.Or(t.Message, "the rules differ from the rules that were programmed")}
	case ruleio.OutcomeIdentityMismatch:
		change.Finding = &Finding{v1alpha1.ReasonDrifted, cmp.Or(t.Message, "the network namespace has none of the pod's addresses")}
	default:
		// The rules were not read. Events report a deleted pod.
		return Change{}
	}
	if t.NetnsInode != 0 && int64(t.NetnsInode) != st.Applied.NetnsInode { //nolint:gosec // An inode number of nsfs is far below 2^63.
		// The counters of another namespace do not continue the counters of the
		// earlier one.
		change.Finding = &Finding{v1alpha1.ReasonSandboxRecreated, "the network namespace of the pod is not the one in which the rules were programmed"}
		return change
	}
	change.Proxy = proxyOf(st, r)
	if c := Counters(t.Counters); c != nil && equal(e.Counters, st.Applied.Counters) && !equal(*c, st.Applied.Counters) {
		change.Counters = c
	}
	return change
}

// FromEvents returns a finding if, after the rules were programmed, the pod's
// sandbox was recreated, its node was rebooted, or its watch container no
// longer detected the rules. Otherwise it returns nil.
func FromEvents(st *v1alpha1.PodNATConfigurationStatus, pod *corev1.Pod, node *corev1.Node) *Finding {
	a := st.Applied
	if a.RequestDigest == "" || pod == nil {
		return nil
	}
	if node != nil && a.Node == node.Name && a.BootID != "" && node.Status.NodeInfo.BootID != "" && a.BootID != node.Status.NodeInfo.BootID {
		return &Finding{v1alpha1.ReasonNodeRebooted, "node " + node.Name + " was rebooted"}
	}
	ready := launcherpod.SandboxReadySince(pod)
	switch {
	case ready != nil && a.SandboxTime != nil:
		if !ready.Equal(a.SandboxTime) {
			return &Finding{v1alpha1.ReasonSandboxRecreated, "the kubelet created a new network namespace for the pod"}
		}
	case ready == nil && a.Time != nil && allRestarted(pod, *a.Time):
		return &Finding{v1alpha1.ReasonSandboxRecreated, "all containers of the pod were restarted"}
	}
	if a.Time != nil && gateSeenShut(pod, *a.Time) {
		return &Finding{v1alpha1.ReasonDrifted, "container " + startgate.WatchContainer + " of the pod no longer detects verified rules"}
	}
	return nil
}

// allRestarted reports whether every container was restarted after a time. Both
// times are from the node's container runtime.
func allRestarted(pod *corev1.Pod, since metav1.Time) bool {
	for i := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[i]
		if c.RestartCount == 0 || c.State.Running == nil || !c.State.Running.StartedAt.After(since.Time) {
			return false
		}
	}
	return len(pod.Status.ContainerStatuses) > 0
}

// gateSeenShut reports whether the container that watches the gate exited after
// a time because the gate was shut. Both times are from the node's container
// runtime.
func gateSeenShut(pod *corev1.Pod, since metav1.Time) bool {
	for _, c := range pod.Status.InitContainerStatuses {
		if c.Name != startgate.WatchContainer {
			continue
		}
		for _, t := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if t != nil && t.ExitCode == int32(ruleio.ExitRetryable) && t.FinishedAt.After(since.Time) {
				return true
			}
		}
	}
	return false
}

// Counters converts the rule-writer's counters. It returns nil for nil.
func Counters(c *ruleio.Counters) *v1alpha1.TrafficCounters {
	if c == nil {
		return nil
	}
	return &v1alpha1.TrafficCounters{Captured: number(c.Captured), Direct: number(c.Direct), Dropped: number(c.Dropped)}
}

func number(n uint64) *int64 { return new(int64(min(n, math.MaxInt64))) }

// Add returns the total after a table's counters changed from last to now.
// Counters that decreased were reset, because the table was written again.
func Add(total, last, now v1alpha1.TrafficCounters) v1alpha1.TrafficCounters {
	return v1alpha1.TrafficCounters{
		Captured: addOne(total.Captured, last.Captured, now.Captured),
		Direct:   addOne(total.Direct, last.Direct, now.Direct),
		Dropped:  addOne(total.Dropped, last.Dropped, now.Dropped),
	}
}

func addOne(total, last, now *int64) *int64 {
	t, l, n := ptr.Deref(total, 0), ptr.Deref(last, 0), ptr.Deref(now, 0)
	if n < l {
		l = 0
	}
	return new(t + n - l)
}

func equal(a, b v1alpha1.TrafficCounters) bool {
	return ptr.Equal(a.Captured, b.Captured) && ptr.Equal(a.Direct, b.Direct) && ptr.Equal(a.Dropped, b.Dropped)
}
