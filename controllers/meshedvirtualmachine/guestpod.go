// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/startgate"
)

// guestPod is a live virt-launcher pod and everything that a reconcile derives
// about it. describePods computes it once, after the children were applied;
// conditions and status only read it.
type guestPod struct {
	*corev1.Pod
	// nat is the pod's PodNATConfiguration, nil when none exists.
	nat *v1alpha1.PodNATConfiguration
	// role is the role of the pod in a live migration.
	role v1alpha1.PodRole
	// rules is the condition NATProgrammed as this pod alone determines it.
	rules conditions.Condition
	// start reports whether the start of the guest was, or is, delayed.
	start v1alpha1.PodStart
	// gateBlocks is set while the start gate delays the guest.
	gateBlocks bool
}

// describePods derives the guest pods from the scope, if all of them were read.
func (s *scope) describePods() {
	if !s.podsKnown {
		return
	}
	s.guestPods = make([]guestPod, 0, len(s.pods))
	for i := range s.pods {
		g := guestPod{Pod: &s.pods[i], gateBlocks: startgate.Blocks(&s.pods[i])}
		if nat, ok := s.nats[g.UID]; ok {
			g.nat = &nat
		}
		g.role = s.roleOf(g.Pod)
		g.rules = s.rulesOf(g)
		g.start = s.startOf(g)
		s.guestPods = append(s.guestPods, g)
	}
}

// programmed returns whether the rules of the pod are verified, or Unknown if
// the pod does not have a PodNATConfiguration.
func (g guestPod) programmed() metav1.ConditionStatus {
	switch {
	case g.nat == nil:
		return metav1.ConditionUnknown
	case conditions.IsTrue(g.nat.Status.Conditions, v1alpha1.ConditionProgrammed, g.nat.Generation):
		return metav1.ConditionTrue
	default:
		return metav1.ConditionFalse
	}
}

// ready reports whether the pod's PodNATConfiguration is Ready for the current
// spec.
func (g guestPod) ready() bool {
	return g.nat != nil && conditions.IsTrue(g.nat.Status.Conditions, v1alpha1.ConditionReady, g.nat.Generation)
}

// stalled reports whether the pod's PodNATConfiguration is Stalled.
func (g guestPod) stalled() bool {
	return g.nat != nil && conditions.IsTrue(g.nat.Status.Conditions, v1alpha1.ConditionStalled, g.nat.Generation)
}

// roleOf distinguishes the two pods of a live migration by the names that KubeVirt
// records (KubeVirt, VirtualMachineInstanceMigrationState).
func (s *scope) roleOf(p *corev1.Pod) v1alpha1.PodRole {
	if len(s.pods) < 2 || s.vmi == nil {
		return v1alpha1.PodRoleActive
	}
	m := s.vmi.Status.MigrationState
	switch {
	case m != nil && !m.Completed && m.TargetPod == p.Name:
		return v1alpha1.PodRoleMigrationTarget
	case m != nil && !m.Completed && m.SourcePod == p.Name:
		return v1alpha1.PodRoleMigrationSource
	case m != nil && m.Completed && !m.Failed && m.SourcePod == p.Name:
		return v1alpha1.PodRoleMigrationSource
	case s.vmi.Status.NodeName == p.Spec.NodeName:
		return v1alpha1.PodRoleActive
	default:
		return v1alpha1.PodRoleMigrationTarget
	}
}

// rulesOf returns the condition NATProgrammed of one pod.
func (s *scope) rulesOf(g guestPod) conditions.Condition {
	const t = v1alpha1.ConditionNATProgrammed
	if err := s.failures[natKey(s.mvm, g.Pod)]; err != nil {
		return conditions.False(t, failureReason(err), err.Error())
	}
	if g.nat == nil {
		return conditions.False(t, v1alpha1.ReasonProgramming, s.whyNoNAT(g.Pod))
	}
	if g.ready() {
		return conditions.True(t, v1alpha1.ReasonProgrammed, "")
	}
	reason, message := v1alpha1.ReasonProgramming, "waiting for the rules of pod "+g.Name
	if c := meta.FindStatusCondition(g.nat.Status.Conditions, string(v1alpha1.ConditionReady)); c != nil && c.ObservedGeneration == g.nat.Generation {
		reason, message = v1alpha1.ConditionReason(c.Reason), c.Message
	}
	return conditions.False(t, reason, message)
}

// whyNoNAT returns the reason why a live pod does not have a
// PodNATConfiguration.
func (s *scope) whyNoNAT(pod *corev1.Pod) string {
	if pod.Spec.NodeName == "" {
		if why := launcherpod.Unschedulable(pod); why != "" {
			return "no node can run pod " + pod.Name + ": " + why
		}
		return "waiting for pod " + pod.Name + " to be scheduled"
	}
	if s.invalid != nil {
		return "pod " + pod.Name + " gets no rules because the spec is not accepted: see condition Accepted"
	}
	if len(pod.Status.PodIPs) == 0 {
		return "waiting for pod " + pod.Name + " to have an address"
	}
	if _, err := natplan.ConfigurationSpec(s.mvm, natplan.Facts{Pod: pod, VMI: s.vmi}); err != nil {
		return "the rules of pod " + pod.Name + " cannot be planned: " + err.Error()
	}
	return "waiting for the PodNATConfiguration of pod " + pod.Name
}

func natKey(mvm *v1alpha1.MeshedVirtualMachine, pod *corev1.Pod) apply.Key {
	return apply.Key{
		Kind: children.PodNATConfigurationKind.GroupKind(),
		Name: children.PodNATConfigurationName(mvm.Name, pod.UID),
	}
}

// startOf reports whether the start of a pod's guest was, or is, delayed. The
// value for a guest that was unpaused is kept.
func (s *scope) startOf(g guestPod) v1alpha1.PodStart {
	before := startInStatus(s.before, g.UID)
	switch {
	case g.gateBlocks:
		return v1alpha1.PodStartHeld
	case startgate.HasGate(g.Pod), before == v1alpha1.PodStartReleased:
		return v1alpha1.PodStartReleased
	case !s.startsPaused(), isMigrationTarget(g.Pod), before == v1alpha1.PodStartNotHeld:
		return v1alpha1.PodStartNotHeld
	case !s.unpausedSinceStart(g.Pod):
		return v1alpha1.PodStartHeld
	case g.rules.Status == metav1.ConditionTrue:
		return v1alpha1.PodStartReleased
	default:
		return v1alpha1.PodStartNotHeld
	}
}

// startInStatus returns the start state of a pod in the status.
func startInStatus(mvm *v1alpha1.MeshedVirtualMachine, pod types.UID) v1alpha1.PodStart {
	i := slices.IndexFunc(mvm.Status.Pods, func(p v1alpha1.PodStatus) bool { return p.UID == pod })
	if i < 0 {
		return ""
	}
	return mvm.Status.Pods[i].Start
}

// isMigrationTarget reports whether the pod was created for a live migration.
// KubeVirt runs the guest on the target of a migration regardless of its start
// strategy.
func isMigrationTarget(pod *corev1.Pod) bool { return pod.Labels[kubevirtv1.MigrationJobLabel] != "" }

// awaitingRules returns the active pod whose guest waits for its rules, or nil.
func (s *scope) awaitingRules() *guestPod {
	for i := range s.guestPods {
		if g := &s.guestPods[i]; g.role == v1alpha1.PodRoleActive && g.start == v1alpha1.PodStartHeld {
			return g
		}
	}
	return nil
}
