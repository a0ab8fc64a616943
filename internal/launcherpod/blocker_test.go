// SPDX-License-Identifier: Apache-2.0

package launcherpod_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/internal/launcherpod"
)

// TestBlocker checks which container a pod waits for.
func TestBlocker(t *testing.T) {
	waits := func(name, reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	restarts := func(name, message string) corev1.ContainerStatus {
		s := waits(name, "CrashLoopBackOff", message)
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
		return s
	}
	runs := func(name string, started bool) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, Started: &started, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	}
	ended := func(name string, code int32) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error"}}}
	}
	for name, tc := range map[string]struct {
		init, other []corev1.ContainerStatus
		want        launcherpod.Block
	}{
		"not reported": {},
		"first init container is running": {
			init: []corev1.ContainerStatus{runs("validation", true), waits("proxy", "PodInitializing", "")},
			want: launcherpod.Block{Container: "validation", Init: true, Message: "it is running and has not completed", Logged: true},
		},
		"first init container restarts repeatedly": {
			init: []corev1.ContainerStatus{restarts("validation", "back-off 40s"), waits("proxy", "PodInitializing", "")},
			want: launcherpod.Block{Container: "validation", Init: true, Reason: "CrashLoopBackOff", Message: "CrashLoopBackOff: back-off 40s", Failing: true, Logged: true},
		},
		"first init container failed": {
			init: []corev1.ContainerStatus{ended("validation", 3)},
			want: launcherpod.Block{Container: "validation", Init: true, Reason: "Error", Message: "exit code 3", Failing: true, Logged: true},
		},
		"native sidecar has not started": {
			init: []corev1.ContainerStatus{ended("validation", 0), runs("proxy", false)},
			want: launcherpod.Block{Container: "proxy", Init: true, Message: "it is running and not ready", Logged: true},
		},
		"native sidecar about to start": {
			init: []corev1.ContainerStatus{ended("validation", 0), waits("proxy", "PodInitializing", "")},
			want: launcherpod.Block{Container: "proxy", Init: true, Reason: "PodInitializing", Message: "it has not started"},
		},
		"native sidecar without its image": {
			init: []corev1.ContainerStatus{ended("validation", 0), waits("proxy", "ErrImagePull", "not found")},
			want: launcherpod.Block{Container: "proxy", Init: true, Reason: "ErrImagePull", Message: "ErrImagePull: not found", Failing: true},
		},
		"guest's container about to start": {
			init:  []corev1.ContainerStatus{ended("validation", 0), runs("proxy", true)},
			other: []corev1.ContainerStatus{waits("compute", "ContainerCreating", "")},
		},
		"guest's container cannot start": {
			init:  []corev1.ContainerStatus{ended("validation", 0), runs("proxy", true)},
			other: []corev1.ContainerStatus{runs("log", true), waits("compute", "CreateContainerConfigError", "no Secret")},
			want:  launcherpod.Block{Container: "compute", Reason: "CreateContainerConfigError", Message: "CreateContainerConfigError: no Secret", Failing: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{}
			p.Spec.InitContainers = []corev1.Container{{Name: "validation"}, {Name: "proxy", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
			p.Status.InitContainerStatuses, p.Status.ContainerStatuses = tc.init, tc.other
			got, found := launcherpod.Blocker(p)
			if diff := cmp.Diff(tc.want, got); diff != "" || found != (tc.want.Container != "") {
				t.Errorf("found %v (-want +got):\n%s", found, diff)
			}
		})
	}
}
