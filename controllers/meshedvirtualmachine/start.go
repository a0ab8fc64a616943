// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	kubevirtv1 "kubevirt.io/api/core/v1"
	kubevirtclient "kubevirt.io/client-go/kubevirt/typed/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/startgate"
)

// Unpauser lets a paused guest run. The right to do so is in config/unpause: only
// the start gate Pause needs it.
type Unpauser interface {
	// Unpause is KubeVirt's subresource of that name.
	Unpause(ctx context.Context, guest types.NamespacedName) error
}

// NewUnpauser asks KubeVirt's API.
func NewUnpauser(cfg *rest.Config) (Unpauser, error) {
	c, err := kubevirtclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client of KubeVirt's subresources: %w", err)
	}
	return unpauser{c}, nil
}

type unpauser struct {
	client *kubevirtclient.KubevirtV1Client
}

// Unpause fails with a conflict if the guest is not paused.
func (u unpauser) Unpause(ctx context.Context, guest types.NamespacedName) error {
	return u.client.VirtualMachineInstances(guest.Namespace).Unpause(ctx, guest.Name, &kubevirtv1.UnpauseOptions{})
}

// release lets a guest that the operator had started paused run, once the rules
// of its very pod were verified. A pod's guest is released once: who pauses it
// later means it. That it was is in the status, and if the operator dies before
// that is written, letRun sees it.
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	if s.paused || len(s.pods) != 1 || s.vmi == nil || s.vmi.Status.Phase != kubevirtv1.Running || !s.vmiPaused() {
		return nil
	}
	pod := &s.pods[0]
	nat, ok := s.nats[pod.UID]
	if !ok || !conditions.IsTrue(nat.Status.Conditions, v1alpha1.ConditionReady, nat.Generation) || s.start(pod) != v1alpha1.PodStartHeld {
		return nil
	}
	if err := r.Unpauser.Unpause(ctx, types.NamespacedName{Namespace: s.vmi.Namespace, Name: s.vmi.Name}); err != nil && !notPaused(err) {
		s.notReleased = fmt.Errorf("let the guest run: %w", err)
		return s.notReleased
	}
	s.released = pod.UID
	return nil
}

// notPaused says whether KubeVirt has let the guest run already, which the
// operator's cache does not show yet (KubeVirt, pkg/virt-api/rest,
// UnpauseVMIRequestHandler; other conflicts have other words).
func notPaused(err error) bool {
	return apierrors.IsConflict(err) && strings.Contains(err.Error(), "VMI is not paused")
}

// start says whether the guest of a pod was, or is, held back. What it said of a
// guest that was let run stays.
func (s *scope) start(pod *corev1.Pod) v1alpha1.PodStart {
	before := s.startBefore(pod.UID)
	switch {
	case startgate.Blocks(pod):
		return v1alpha1.PodStartHeld
	case startgate.HasGate(pod), s.released == pod.UID, before == v1alpha1.PodStartReleased:
		return v1alpha1.PodStartReleased
	case !s.startsPaused(), migrated(pod), before == v1alpha1.PodStartNotHeld:
		return v1alpha1.PodStartNotHeld
	case !s.letRun(pod):
		return v1alpha1.PodStartHeld
	case s.podProgrammed(pod).Status == metav1.ConditionTrue:
		return v1alpha1.PodStartReleased
	default:
		return v1alpha1.PodStartNotHeld
	}
}

// migrated says whether the pod was made for a live migration, on whose target
// KubeVirt has the guest run whatever its start strategy.
func migrated(pod *corev1.Pod) bool { return pod.Labels[kubevirtv1.MigrationJobLabel] != "" }

// letRun says whether a guest that was started paused runs by now. A guest that
// KubeVirt does not call paused may be one that it does not call so yet, for a
// second or two; what tells is a readiness gate of the pod that KubeVirt keeps:
// it is met when the pod is made, and again, later than the guest was started,
// when the guest was let run (KubeVirt, pkg/virt-controller/watch/vmi,
// syncPausedConditionToPod).
func (s *scope) letRun(pod *corev1.Pod) bool {
	if s.vmi.Status.Phase != kubevirtv1.Running || s.vmiPaused() {
		return false
	}
	i := slices.IndexFunc(s.vmi.Status.PhaseTransitionTimestamps, func(t kubevirtv1.VirtualMachineInstancePhaseTransitionTimestamp) bool {
		return t.Phase == kubevirtv1.Running
	})
	return i >= 0 && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kubevirtv1.VirtualMachineUnpaused && c.Status == corev1.ConditionTrue &&
			c.LastTransitionTime.After(s.vmi.Status.PhaseTransitionTimestamps[i].PhaseTransitionTimestamp.Time)
	})
}

// startBefore is what the status says of a pod.
func (s *scope) startBefore(uid types.UID) v1alpha1.PodStart {
	for _, p := range s.before.Status.Pods {
		if p.UID == uid {
			return p.Start
		}
	}
	return ""
}

// startsPaused says whether it was the operator who had the guest started
// paused: a start strategy in the user's spec is the user's business.
func (s *scope) startsPaused() bool {
	return s.vmi != nil && s.vmi.ShouldStartPaused() && !s.ownStrategy()
}

// ownStrategy says whether the spec has a start strategy of the user's own.
func (s *scope) ownStrategy() bool {
	t := s.mvm.Spec.VirtualMachine.Template
	return t != nil && t.Spec.StartStrategy != nil
}

func (s *scope) vmiPaused() bool {
	for _, c := range s.vmi.Status.Conditions {
		if c.Type == kubevirtv1.VirtualMachineInstancePaused {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// heldBack names the pod that waits with its guest for its rules, nil if none
// does.
func (s *scope) heldBack() *corev1.Pod {
	for i := range s.pods {
		if p := &s.pods[i]; s.role(p) == v1alpha1.PodRoleActive && s.start(p) == v1alpha1.PodStartHeld {
			return p
		}
	}
	return nil
}

// startNotHeld is stated while a pod lives whose guest nothing held back although
// the spec asks for it.
func (s *scope) startNotHeld() (conditions.Condition, bool) {
	if s.mvm.Spec.StartOrDefault() != v1alpha1.StartPolicyAfterProgrammed {
		return conditions.Condition{}, false
	}
	for i := range s.pods {
		if pod := &s.pods[i]; s.start(pod) == v1alpha1.PodStartNotHeld {
			reason, message := s.whyNotHeld(pod)
			return conditions.True(v1alpha1.ConditionStartNotHeld, reason, message), true
		}
	}
	return conditions.Condition{}, false
}

// whyNotHeld says why nothing held back the guest of a pod, and the way out.
func (s *scope) whyNotHeld(pod *corev1.Pod) (reason v1alpha1.ConditionReason, message string) {
	switch {
	case s.startsPaused() && migrated(pod):
		return v1alpha1.ReasonMigrationNotHeld, "the guest moved to pod " + pod.Name +
			" without waiting for its rules: starting paused does not hold a live migration, the operator's start gate Container does"
	case s.startsPaused():
		return v1alpha1.ReasonUnpausedEarly, "somebody other than the operator let the guest of pod " + pod.Name +
			" run before its rules were verified: leave that to the operator"
	case s.gate == children.StartGatePause && s.ownStrategy():
		return v1alpha1.ReasonOwnStartStrategy, "the operator's start gate is Pause, and the start strategy of the spec keeps it from the guest of pod " + pod.Name +
			": remove spec.virtualMachine.template.spec.startStrategy, then restart the guest"
	case s.gate == children.StartGatePause:
		return v1alpha1.ReasonGateMissing, "the guest of pod " + pod.Name +
			" was started before the operator's start gate Pause was in effect, so that it may have sent packets before its rules were there: restart the guest"
	default:
		return v1alpha1.ReasonGateMissing, "pod " + pod.Name + " was made without the container " + startgate.Container +
			", so that its guest may have sent packets before its rules were there: see to it that the operator's webhook for pods is in place, then restart the guest"
	}
}
