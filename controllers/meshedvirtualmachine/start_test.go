// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// gate gives the scope's pod a gate.
func gate(open bool) func(*scope) {
	return func(s *scope) {
		s.pods[0] = *builders.LauncherPod(s.vmi, "abcde").Node("node-a").Gate(open).Obj()
	}
}

// startedPaused is a guest that the operator had KubeVirt start paused.
func startedPaused(s *scope) {
	s.vmi.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
	s.vmi.Status.Phase = kubevirtv1.Running
	s.vmi.Status.Conditions = []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstancePaused, Status: corev1.ConditionTrue}}
}

// unpaused is what KubeVirt reports about a guest that runs: that it was unpaused that
// long after it was started.
func unpaused(after time.Duration) func(*scope) {
	return func(s *scope) {
		started := metav1.NewTime(time.Unix(1000, 0))
		s.vmi.Status.Conditions = nil
		s.vmi.Status.PhaseTransitionTimestamps = []kubevirtv1.VirtualMachineInstancePhaseTransitionTimestamp{
			{Phase: kubevirtv1.Scheduled, PhaseTransitionTimestamp: metav1.NewTime(started.Add(-time.Minute))},
			{Phase: kubevirtv1.Running, PhaseTransitionTimestamp: started},
		}
		s.pods[0].Status.Conditions = append(s.pods[0].Status.Conditions, corev1.PodCondition{
			Type: kubevirtv1.VirtualMachineUnpaused, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(started.Add(after)),
		})
	}
}

// startBefore is what the status reports already.
func startBefore(p v1alpha1.PodStart) func(*scope) {
	return func(s *scope) { s.before.Status.Pods = []v1alpha1.PodStatus{{UID: s.pods[0].UID, Start: p}} }
}

// target adds the target of a migration, with or without a gate.
func target(gated, programmed bool) func(*scope) {
	return func(s *scope) {
		b := builders.LauncherPod(s.vmi, "fghij").UID("target").Node("node-b").MigrationTarget("m1")
		if gated {
			b.Gate(false)
		}
		s.pods = append(s.pods, *b.Obj())
		status := metav1.ConditionFalse
		if programmed {
			status = metav1.ConditionTrue
		}
		s.nats["target"] = nat("target", status, v1alpha1.ReasonProgramming, 1)
	}
}

func TestStartOfPods(t *testing.T) {
	tests := map[string]struct {
		scope   *scope
		start   v1alpha1.PodStart
		vm      v1alpha1.ConditionReason
		nat     v1alpha1.ConditionReason
		notHeld v1alpha1.ConditionReason
	}{
		"a gate that is shut": {
			world(gate(false), setNAT(metav1.ConditionFalse, v1alpha1.ReasonProgramming, 1)),
			v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgramming, "",
		},
		"a gate that is open": {world(gate(true)), v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, ""},
		"no gate":             {world(), v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, v1alpha1.ReasonGateMissing},
		"no gate asked for": {
			world(func(s *scope) { s.mvm.Spec.Start = v1alpha1.StartPolicyImmediate }),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"started paused":                   {world(startedPaused), v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, ""},
		"started paused, not shown paused": {world(startedPaused, func(s *scope) { s.vmi.Status.Conditions = nil }), v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, ""},
		"started paused and released": {
			world(startedPaused, startBefore(v1alpha1.PodStartReleased)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"started paused, not called paused yet": {
			world(startedPaused, unpaused(-30*time.Second)),
			v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, "",
		},
		"unpaused by an operator that died": {
			world(startedPaused, unpaused(5*time.Second), startBefore(v1alpha1.PodStartHeld)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"unpaused by a user before its rules": {
			world(startedPaused, unpaused(5*time.Second), setNAT(metav1.ConditionFalse, v1alpha1.ReasonProgramming, 1)),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgramming, v1alpha1.ReasonUnpausedEarly,
		},
		"unpaused by a user before its rules, which are programmed now": {
			world(startedPaused, unpaused(5*time.Second), startBefore(v1alpha1.PodStartNotHeld)),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, v1alpha1.ReasonUnpausedEarly,
		},
		"a start strategy of the user's own, and start gate Pause": {
			world(startedPaused, func(s *scope) {
				s.gate = children.StartGatePause
				s.mvm.Spec.VirtualMachine.Template.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
			}, unpaused(5*time.Second)),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, v1alpha1.ReasonOwnStartStrategy,
		},
		"started before the start gate was Pause": {
			world(func(s *scope) { s.gate = children.StartGatePause }),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, v1alpha1.ReasonGateMissing,
		},
		"a migration that waits": {
			world(gate(true), target(true, false)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"a migration that nothing holds": {
			world(gate(true), target(false, false)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgramming, v1alpha1.ReasonGateMissing,
		},
		"a migration of a guest that was started paused": {
			world(startedPaused, target(false, true), startBefore(v1alpha1.PodStartReleased)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, v1alpha1.ReasonMigrationNotHeld,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.scope.podStatuses()[0].Start; got != tc.start {
				t.Errorf("start is %s, want %s", got, tc.start)
			}
			all := tc.scope.conditions()
			reason := func(c v1alpha1.ConditionType) v1alpha1.ConditionReason {
				found, _ := conditions.Find(all, c)
				return found.Reason
			}
			for c, want := range map[v1alpha1.ConditionType]v1alpha1.ConditionReason{
				v1alpha1.ConditionVirtualMachineReady: tc.vm,
				v1alpha1.ConditionNATProgrammed:       tc.nat,
				v1alpha1.ConditionStartNotHeld:        tc.notHeld,
			} {
				if got := reason(c); got != want {
					t.Errorf("%s is %q, want %q", c, got, want)
				}
			}
		})
	}
}

// unpauses records who was unpaused.
type unpauses struct {
	of  []types.NamespacedName
	err error
}

func (u *unpauses) Unpause(_ context.Context, guest types.NamespacedName) error {
	u.of = append(u.of, guest)
	return u.err
}

// server is an API server with one object, in the state in which the scope has it
// unless it is changed.
type server struct {
	client.Reader
	mvm v1alpha1.MeshedVirtualMachine
	err error
}

func (s server) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.MeshedVirtualMachineList).Items = []v1alpha1.MeshedVirtualMachine{s.mvm}
	return s.err
}

// unpauserOf is a Reconciler whose cache is as new as the API server.
func unpauserOf(s *scope, u *unpauses) *Reconciler {
	return &Reconciler{Unpauser: u, Reader: server{mvm: *s.before.DeepCopy()}}
}

// TestUnpauseOnce is for a cache that does not show the operator's own status yet.
func TestUnpauseOnce(t *testing.T) {
	s, u := world(startedPaused), &unpauses{}
	newer := s.before.DeepCopy()
	newer.Status.Pods = []v1alpha1.PodStatus{{UID: s.pods[0].UID, Start: v1alpha1.PodStartReleased}}
	if err := (&Reconciler{Unpauser: u, Reader: server{mvm: *newer}}).unpause(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if len(u.of) != 0 || s.podStatuses()[0].Start != v1alpha1.PodStartReleased {
		t.Errorf("unpaused again: %v, start in status: %s", u.of, s.podStatuses()[0].Start)
	}

	// A different object with the same name does not contain information about the
	// pods of this object.
	s, newer.UID = world(startedPaused), "another"
	if err := (&Reconciler{Unpauser: u, Reader: server{mvm: *newer}}).unpause(t.Context(), s); err != nil || len(u.of) != 1 {
		t.Errorf("not unpaused because of another object: %v, %v", u.of, err)
	}

	s, u = world(startedPaused), &unpauses{}
	err := (&Reconciler{Unpauser: u, Reader: server{err: errors.New("busy")}}).unpause(t.Context(), s)
	if err == nil || len(u.of) != 0 || s.podStatuses()[0].Start != v1alpha1.PodStartHeld {
		t.Errorf("unpaused although the status is unknown: %v, %v", u.of, err)
	}
}

func TestUnpause(t *testing.T) {
	tests := map[string]struct {
		mods []func(*scope)
		want bool
	}{
		"rules verified":         {nil, true},
		"rules under way":        {[]func(*scope){setNAT(metav1.ConditionFalse, v1alpha1.ReasonProgramming, 1)}, false},
		"rules of another spec":  {[]func(*scope){setNAT(metav1.ConditionTrue, v1alpha1.ReasonReady, 0)}, false},
		"rules of another pod":   {[]func(*scope){func(s *scope) { s.nats = map[types.UID]v1alpha1.PodNATConfiguration{"other": s.nats[s.pods[0].UID]} }}, false},
		"not shown paused yet":   {[]func(*scope){func(s *scope) { s.vmi.Status.Conditions = nil }}, false},
		"not running yet":        {[]func(*scope){func(s *scope) { s.vmi.Status.Phase = kubevirtv1.Scheduled }}, false},
		"the operator is paused": {[]func(*scope){func(s *scope) { s.paused = true }}, false},
		"two pods":               {[]func(*scope){target(false, true)}, false},
		"the user's own start strategy": {[]func(*scope){func(s *scope) {
			s.mvm.Spec.VirtualMachine.Template.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
		}}, false},
		"paused by a user later":               {[]func(*scope){startBefore(v1alpha1.PodStartReleased)}, false},
		"paused by a user who had unpaused it": {[]func(*scope){startBefore(v1alpha1.PodStartNotHeld)}, false},
		"paused by a user after a migration": {[]func(*scope){func(s *scope) {
			s.pods[0].Labels[kubevirtv1.MigrationJobLabel] = "m1"
		}}, false},
		"paused by a user, with a gate": {[]func(*scope){gate(true)}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s, u := world(append([]func(*scope){startedPaused}, tc.mods...)...), &unpauses{}
			if err := unpauserOf(s, u).unpause(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			guest := types.NamespacedName{Namespace: s.vmi.Namespace, Name: s.vmi.Name}
			if released := slices.Equal(u.of, []types.NamespacedName{guest}); released != tc.want || len(u.of) > 1 {
				t.Errorf("unpaused: %v, want it: %t", u.of, tc.want)
			}
			if tc.want && s.podStatuses()[0].Start != v1alpha1.PodStartReleased {
				t.Error("status does not show so")
			}
		})
	}
	s, u := world(startedPaused), &unpauses{err: errors.New("busy")}
	if err := unpauserOf(s, u).unpause(t.Context(), s); err == nil || s.podStatuses()[0].Start != v1alpha1.PodStartHeld {
		t.Errorf("a refusal was taken for success: %v", err)
	}
}

// TestUnpauseRunningGuest: KubeVirt's conflicts, as its API server sends them.
func TestUnpauseRunningGuest(t *testing.T) {
	for message, want := range map[string]v1alpha1.PodStart{
		"VMI is not paused":  v1alpha1.PodStartReleased,
		"VMI is not running": v1alpha1.PodStartHeld,
	} {
		conflict := apierrors.NewConflict(kubevirtv1.Resource("virtualmachineinstance"), "web", errors.New(message))
		s := world(startedPaused)
		err := unpauserOf(s, &unpauses{err: conflict}).unpause(t.Context(), s)
		if got := s.podStatuses()[0].Start; got != want || (err == nil) != (want == v1alpha1.PodStartReleased) {
			t.Errorf("%s: %s, %v", message, got, err)
		}
	}
}

// TestForbiddenUnpause: status names the right that is missing.
func TestForbiddenUnpause(t *testing.T) {
	s := world(startedPaused)
	forbidden := apierrors.NewForbidden(kubevirtv1.Resource("virtualmachineinstances"), "web", errors.New("no"))
	if err := unpauserOf(s, &unpauses{err: forbidden}).unpause(t.Context(), s); !apierrors.IsForbidden(err) {
		t.Fatalf("got %v", err)
	}
	if c := s.virtualMachineReady(); c.Reason != v1alpha1.ReasonStarting || !strings.Contains(c.Message, "config/unpause") {
		t.Errorf("got %+v", c)
	}
}

// TestUnknownPodsKeepStatus: status is the only memory of who was unpaused.
func TestUnknownPodsKeepStatus(t *testing.T) {
	known := []v1alpha1.PodStatus{{UID: "a", Start: v1alpha1.PodStartReleased}}
	for name, tc := range map[string]struct {
		known bool
		want  []v1alpha1.PodStatus
	}{
		"not looked at":  {false, known},
		"there are none": {true, []v1alpha1.PodStatus{}},
	} {
		s := world(func(s *scope) {
			s.vmi, s.pods, s.podsKnown, s.mvm.Status.Pods = nil, nil, tc.known, known
		})
		s.writeStatus()
		if diff := cmp.Diff(tc.want, s.mvm.Status.Pods); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
