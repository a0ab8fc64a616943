// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

// writeStatus computes the whole status from the scope.
func (s *scope) writeStatus() {
	st := &s.config.Status
	st.ObservedGeneration = s.config.Generation
	if s.proven != nil && s.config.DeletionTimestamp.IsZero() {
		st.Applied = s.appliedRules()
		if s.proven.Counters != nil {
			st.Counters = drift.Add(st.Counters, v1alpha1.TrafficCounters{}, st.Applied.Counters)
		}
		st.Attempts = 0
	}
	if s.rulesVerified() {
		st.Job = ""
	}
	main := []conditions.Condition{s.acceptedCondition(), s.targetCondition(), s.programmedCondition()}
	all := conditions.Summarize(main, s.progress())
	if c, ok := s.proxyConfigured(); ok {
		all = append(all, c)
	}
	st.Conditions = conditions.Merge(st.Conditions, s.config.Generation, all...)
}

// progress classifies an object that is not ready.
func (s *scope) progress() conditions.Progress {
	if s.invalid != nil || s.repairBackoff.Contended || s.proxyMissing() && (s.enrollmentOverdue || !s.ambient()) ||
		s.jobResult != nil && s.jobResult.State == rulejob.StateFailed && !s.jobResult.Retryable && !s.jobResult.TargetGone {
		return conditions.Stalled
	}
	if s.repairDue() && s.paused {
		return conditions.Idle
	}
	return conditions.InProgress
}

func (s *scope) acceptedCondition() conditions.Condition {
	if s.invalid != nil {
		return conditions.False(v1alpha1.ConditionAccepted, s.invalid.Reason, s.invalid.Error())
	}
	return conditions.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "the configuration is accepted"+s.notCarried())
}

// notCarried describes how IPv6 traffic that the mesh does not carry is
// handled. It returns an empty string if there is none.
func (s *scope) notCarried() string {
	if s.request == nil || s.request.Targets[0].Plan == nil {
		return ""
	}
	t := s.request.Targets[0]
	fate := " bypasses the mesh"
	if t.Plan.Unmeshed == ruleio.UnmeshedDrop {
		fate = " is dropped"
	}
	switch v6 := slices.ContainsFunc(t.Plan.Families, func(f ruleio.Family) bool { return f.Name == ruleio.FamilyIPv6 }); {
	case !v6 && slices.ContainsFunc(t.PodIPs, func(ip string) bool { return strings.Contains(ip, ":") }):
		return "; the pod has an IPv6 address, but its proxy does not carry IPv6 because Istio's " + natplan.DualStack + " is not enabled: the guest's IPv6 traffic" + fate
	case v6 && t.Plan.DNS != nil && t.Plan.DNS.Mode == ruleio.DNSProxy:
		return "; the guest cannot reach the proxy's resolver over IPv6: its DNS over IPv6" + fate
	default:
		return ""
	}
}

func (s *scope) targetCondition() conditions.Condition {
	const t = v1alpha1.ConditionTargetResolved
	switch {
	case s.pod == nil:
		return conditions.False(t, v1alpha1.ReasonPodNotFound, "no pod with this name and UID exists")
	case !s.alive():
		return conditions.False(t, v1alpha1.ReasonTargetGone, "the pod has terminated")
	case !s.sandboxReady():
		return conditions.False(t, v1alpha1.ReasonSandboxNotReady, "waiting for the kubelet to set up the pod's network namespace")
	case !s.nodeUp():
		return conditions.False(t, v1alpha1.ReasonNodeNotReady, "waiting for node "+s.pod.Spec.NodeName+" to be Ready")
	case s.proxyMissing():
		return s.proxyCondition()
	case s.jobResult != nil && s.jobResult.TargetGone:
		return conditions.False(t, v1alpha1.ReasonTargetGone, s.jobResult.Message)
	default:
		return conditions.True(t, v1alpha1.ReasonResolved, "the pod has a network namespace on node "+s.pod.Spec.NodeName+s.unwatched())
	}
}

// unwatched describes a pod whose changes the operator does not watch.
func (s *scope) unwatched() string {
	if !s.hidden || launcherpod.HasLabel(s.pod) {
		return ""
	}
	return fmt.Sprintf("; the pod does not have the label kubevirt.io=virt-launcher, so the operator cannot watch it and reads it every %s: restore the label", hiddenpod.Retry)
}

func (s *scope) programmedCondition() conditions.Condition {
	const t = v1alpha1.ConditionProgrammed
	switch {
	case s.rulesVerified():
		return conditions.True(t, v1alpha1.ReasonProgrammed, "the rules were read back from the kernel and match the spec")
	case s.invalid != nil:
		return conditions.False(t, s.invalid.Reason, s.invalid.Error())
	case s.jobResult != nil && s.jobResult.State == rulejob.StateFailed:
		return conditions.False(t, s.jobResult.Reason, s.jobResult.Message)
	case s.jobResult != nil && s.jobResult.Message != "":
		return conditions.False(t, s.jobResult.Reason, s.jobResult.Message)
	case s.repairBackoff.Contended:
		return conditions.False(t, v1alpha1.ReasonContended, s.contended())
	case s.repairDue():
		return conditions.False(t, s.config.Status.Repairs.LastReason, s.config.Status.Repairs.LastMessage+s.whatNext())
	case s.request == nil || !s.nodeUp():
		return conditions.False(t, v1alpha1.ReasonProgramming, "waiting for the pod: see condition TargetResolved")
	default:
		return conditions.False(t, v1alpha1.ReasonProgramming, "the rule-writer is running on node "+s.pod.Spec.NodeName)
	}
}

// repairDue reports whether drift was found in the rules of this request.
func (s *scope) repairDue() bool {
	st := &s.config.Status
	return s.request != nil && st.Applied.RequestDigest == s.digest && drift.Due(st)
}

func (s *scope) whatNext() string {
	if s.paused {
		return "; not repaired while the annotation " + v1alpha1.AnnotationPaused + " is set"
	}
	return "; programming the rules again"
}

func (s *scope) contended() string {
	r := s.config.Status.Repairs
	return fmt.Sprintf("another process keeps changing the rules: %d times since %s, most recently: %s; repairs are suspended until %s",
		r.Recent, r.WindowStart.UTC().Format(time.RFC3339), r.LastMessage, s.repairBackoff.Until.UTC().Format(time.RFC3339))
}
