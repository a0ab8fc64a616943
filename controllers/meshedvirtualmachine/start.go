// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	kubevirtv1 "kubevirt.io/api/core/v1"
	kubevirtclient "kubevirt.io/client-go/kubevirt/typed/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/startgate"
)

// Unpauser unpauses guests. The permission is in config/unpause, because only
// the start gate Pause requires it.
type Unpauser interface {
	// Unpause calls KubeVirt's subresource of that name.
	Unpause(ctx context.Context, guest types.NamespacedName) error
}

// NewUnpauser returns an Unpauser that calls KubeVirt's API.
func NewUnpauser(cfg *rest.Config) (Unpauser, error) {
	c, err := kubevirtclient.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("create a client of KubeVirt's subresources: %w", err)
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

// unpause unpauses a guest that the operator started paused, once the rules of
// its pod are verified. It does so once for each pod: a user who pauses the
// guest later does so intentionally. The status records it. The cache may not
// contain that status yet, so the status is read from the API server. If the
// operator exits before the status is written, unpausedSinceStart detects the
// unpause.
func (r *Reconciler) unpause(ctx context.Context, s *scope) error {
	if s.paused || len(s.guestPods) != 1 || s.vmi == nil || s.vmi.Status.Phase != kubevirtv1.Running || !s.vmiPaused() {
		return nil
	}
	g := &s.guestPods[0]
	if !g.ready() && !s.mvm.ReleasesVirtualMachine() || g.start != v1alpha1.PodStartHeld {
		return nil
	}
	released, err := r.releasedBefore(ctx, s.mvm, g.UID)
	if err != nil {
		s.unpauseError = err
		return err
	}
	if released {
		g.start = v1alpha1.PodStartReleased
		return nil
	}
	guest := types.NamespacedName{Namespace: s.vmi.Namespace, Name: s.vmi.Name}
	if err := r.Unpauser.Unpause(ctx, guest); err != nil && !notPaused(err) {
		s.unpauseError = fmt.Errorf("unpause the guest: %w", err)
		return s.unpauseError
	}
	ctrl.LoggerFrom(ctx).Info("Unpaused guest", "virtualMachineInstance", guest, "pod", g.Name)
	g.start = v1alpha1.PodStartReleased
	return nil
}

// releasedBefore reports whether the status on the API server shows that the
// guest of a pod was unpaused. A list with a field selector requires the same
// permissions as the watch.
func (r *Reconciler) releasedBefore(ctx context.Context, mvm *v1alpha1.MeshedVirtualMachine, pod types.UID) (bool, error) {
	var list v1alpha1.MeshedVirtualMachineList
	err := r.Reader.List(ctx, &list, client.InNamespace(mvm.Namespace), client.MatchingFields{"metadata.name": mvm.Name})
	if err != nil {
		return false, fmt.Errorf("read the status before the guest is unpaused: %w", err)
	}
	for i := range list.Items {
		now := &list.Items[i]
		if now.UID == mvm.UID && startInStatus(now, pod) == v1alpha1.PodStartReleased {
			return true, nil
		}
	}
	return false, nil
}

// notPaused reports whether the error means that the guest is already running,
// which the operator's cache does not show yet (KubeVirt, pkg/virt-api/rest,
// UnpauseVMIRequestHandler; other conflicts have another message).
func notPaused(err error) bool {
	return apierrors.IsConflict(err) && strings.Contains(err.Error(), "VMI is not paused")
}

// unpausedSinceStart reports whether a guest that was started paused was unpaused.
// For one or two seconds after the start KubeVirt does not report the guest as
// paused yet. The readiness gate of the pod that KubeVirt maintains is reliable:
// its transition is later than the start of the guest only after an unpause
// (KubeVirt, pkg/virt-controller/watch/vmi, syncPausedConditionToPod).
func (s *scope) unpausedSinceStart(pod *corev1.Pod) bool {
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

// startsPaused reports whether the operator set the start strategy Paused. It
// does not set it if the user's spec has a start strategy.
func (s *scope) startsPaused() bool {
	return s.vmi != nil && s.vmi.ShouldStartPaused() && !s.userStartStrategy()
}

// userStartStrategy reports whether the user's spec sets a start strategy. The operator does
// not set that of an existing VirtualMachine.
func (s *scope) userStartStrategy() bool {
	if s.mvm.Spec.Adopts() {
		return true
	}
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

// startNotHeld returns the condition StartNotHeld. It is present while a live
// pod exists whose guest started without the delay that the spec requires.
func (s *scope) startNotHeld() (conditions.Condition, bool) {
	if s.mvm.Spec.StartOrDefault() != v1alpha1.StartPolicyAfterProgrammed {
		return conditions.Condition{}, false
	}
	for _, g := range s.guestPods {
		if g.start == v1alpha1.PodStartNotHeld {
			reason, message := s.whyNotDelayed(g.Pod)
			return conditions.True(v1alpha1.ConditionStartNotHeld, reason, message), true
		}
	}
	return conditions.Condition{}, false
}

// whyNotDelayed returns the reason why the guest of a pod started without
// delay, and a message with the resolution.
func (s *scope) whyNotDelayed(pod *corev1.Pod) (reason v1alpha1.ConditionReason, message string) {
	switch {
	case s.mvm.Spec.Adopts() && pod.Labels[v1alpha1.LabelStartGate] == "":
		return v1alpha1.ReasonGateMissing, "the guest of pod " + pod.Name +
			" started without the start gate, for example before its VirtualMachine was adopted, and may have sent packets before its rules were programmed: a restart of the guest clears this condition unless the operator's start gate is Pause"
	case s.startsPaused() && isMigrationTarget(pod):
		return v1alpha1.ReasonMigrationNotHeld, "the guest migrated to pod " + pod.Name +
			" before the pod's rules were verified: the start gate Pause does not delay live migrations; configure the operator's start gate Container"
	case s.startsPaused():
		return v1alpha1.ReasonUnpausedEarly, "the guest of pod " + pod.Name +
			" was unpaused before its rules were verified, and not by the operator: do not unpause the guest manually"
	case s.gate == children.StartGatePause && s.userStartStrategy():
		return v1alpha1.ReasonOwnStartStrategy, "the operator's start gate is Pause, and the start strategy in the spec disables it for the guest of pod " + pod.Name +
			": remove spec.virtualMachine.template.spec.startStrategy, then restart the guest"
	case s.gate == children.StartGatePause:
		return v1alpha1.ReasonGateMissing, "the guest of pod " + pod.Name +
			" started before the operator's start gate Pause was in effect and may have sent packets before its rules were programmed: restart the guest"
	default:
		return v1alpha1.ReasonGateMissing, "pod " + pod.Name + " has no container " + startgate.Container +
			", so its guest may have sent packets before its rules were programmed: check that the operator's webhook for pods is installed, then restart the guest"
	}
}
