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

// gate adds a gate to the scope's pod.
func gate(open bool) func(*scope) {
	return func(s *scope) {
		s.pods[0] = *builders.LauncherPod(s.vmi, "abcde").Node("node-a").Gate(open).Obj()
	}
}

// startedPaused changes the guest to one that KubeVirt started paused at the
// operator's request.
func startedPaused(s *scope) {
	s.vmi.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
	s.vmi.Status.Phase = kubevirtv1.Running
	s.vmi.Status.Conditions = []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstancePaused, Status: corev1.ConditionTrue}}
}

// unpaused sets the state that KubeVirt reports for a running guest that was
// unpaused some time after its start.
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

// startBefore sets the start state in the previous status.
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
		"no gate requested": {
			world(func(s *scope) { s.mvm.Spec.Start = v1alpha1.StartPolicyImmediate }),
			v1alpha1.PodStartNotHeld, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"started paused":                         {world(startedPaused), v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, ""},
		"started paused, not reported as paused": {world(startedPaused, func(s *scope) { s.vmi.Status.Conditions = nil }), v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, ""},
		"started paused and released": {
			world(startedPaused, startBefore(v1alpha1.PodStartReleased)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"started paused, not reported as paused yet": {
			world(startedPaused, unpaused(-30*time.Second)),
			v1alpha1.PodStartHeld, v1alpha1.ReasonStarting, v1alpha1.ReasonProgrammed, "",
		},
		"unpaused by an operator that failed": {
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
		"a start strategy in the spec, and start gate Pause": {
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
		"a delayed migration": {
			world(gate(true), target(true, false)),
			v1alpha1.PodStartReleased, v1alpha1.ReasonRunning, v1alpha1.ReasonProgrammed, "",
		},
		"a migration that is not delayed": {
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

// unpauses records the guests that were unpaused.
type unpauses struct {
	of  []types.NamespacedName
	err error
}

func (u *unpauses) Unpause(_ context.Context, guest types.NamespacedName) error {
	u.of = append(u.of, guest)
	return u.err
}

// server simulates an API server with one object, in the state of the scope
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

// unpauserOf returns a Reconciler whose cache is up to date.
func unpauserOf(s *scope, u *unpauses) *Reconciler {
	return &Reconciler{Unpauser: u, Reader: server{mvm: *s.before.DeepCopy()}}
}

// TestUnpauseOnce runs with a cache that does not contain the operator's latest
// status.
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
		"rules verified":             {nil, true},
		"rules in progress":          {[]func(*scope){setNAT(metav1.ConditionFalse, v1alpha1.ReasonProgramming, 1)}, false},
		"rules of another spec":      {[]func(*scope){setNAT(metav1.ConditionTrue, v1alpha1.ReasonReady, 0)}, false},
		"rules of another pod":       {[]func(*scope){func(s *scope) { s.nats = map[types.UID]v1alpha1.PodNATConfiguration{"other": s.nats[s.pods[0].UID]} }}, false},
		"not reported as paused yet": {[]func(*scope){func(s *scope) { s.vmi.Status.Conditions = nil }}, false},
		"not running yet":            {[]func(*scope){func(s *scope) { s.vmi.Status.Phase = kubevirtv1.Scheduled }}, false},
		"the operator is paused":     {[]func(*scope){func(s *scope) { s.paused = true }}, false},
		"two pods":                   {[]func(*scope){target(false, true)}, false},
		"a start strategy in the spec": {[]func(*scope){func(s *scope) {
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
				t.Errorf("unpaused: %v, want unpaused: %t", u.of, tc.want)
			}
			if tc.want && s.podStatuses()[0].Start != v1alpha1.PodStartReleased {
				t.Error("the status does not report it")
			}
		})
	}
	s, u := world(startedPaused), &unpauses{err: errors.New("busy")}
	if err := unpauserOf(s, u).unpause(t.Context(), s); err == nil || s.podStatuses()[0].Start != v1alpha1.PodStartHeld {
		t.Errorf("a rejection was handled as a success: %v", err)
	}
}

// TestUnpauseRunningGuest checks the conflicts that KubeVirt's API server
// returns.
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

// TestForbiddenUnpause checks that the status names the missing permission.
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

// TestUnknownPodsKeepStatus checks that the status keeps the start states of
// pods until the pods have been listed, because only the status records which
// guests were unpaused.
func TestUnknownPodsKeepStatus(t *testing.T) {
	known := []v1alpha1.PodStatus{{UID: "a", Start: v1alpha1.PodStartReleased}}
	for name, tc := range map[string]struct {
		known bool
		want  []v1alpha1.PodStatus
	}{
		"pods not listed": {false, known},
		"no pods":         {true, []v1alpha1.PodStatus{}},
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
