// SPDX-License-Identifier: Apache-2.0

package launcherpod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Block is a container that delays the start of the other containers of a pod, or
// that does not start.
type Block struct {
	// Container is the name of the container.
	Container string
	// Init is set for an init container.
	Init bool
	// Reason is the reason that the kubelet reports, for example CrashLoopBackOff.
	// It may be empty.
	Reason string
	// Message contains the reason, and the message of the kubelet.
	Message string
	// Failing is set when the container cannot start, as opposed to a container
	// that has not completed or is not ready yet.
	Failing bool
	// Logged is set when the container has run, so that it has a log.
	Logged bool
}

// starting are the reasons of the kubelet for a container that is about to start.
var starting = []string{"", "ContainerCreating", "PodInitializing"}

// Blocker returns the first container that the pod waits for. The kubelet starts init
// containers in order, and the other containers after all of them (Kubernetes, Init
// Containers).
func Blocker(p *corev1.Pod) (Block, bool) {
	for _, c := range p.Spec.InitContainers {
		status, known := statusOf(p.Status.InitContainerStatuses, c.Name)
		if !known {
			return Block{}, false
		}
		if b, blocks := initBlock(c, status); blocks {
			b.Container, b.Init = c.Name, true
			return b, true
		}
	}
	for _, status := range p.Status.ContainerStatuses {
		if b := waiting(status, false); b.Failing {
			b.Container = status.Name
			return b, true
		}
	}
	return Block{}, false
}

func statusOf(all []corev1.ContainerStatus, name string) (corev1.ContainerStatus, bool) {
	i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 {
		return corev1.ContainerStatus{}, false
	}
	return all[i], true
}

// initBlock reports whether the pod waits for an init container. A native
// sidecar (KEP-753) only needs to start.
func initBlock(c corev1.Container, s corev1.ContainerStatus) (Block, bool) {
	sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if sidecar {
		if s.Started != nil && *s.Started {
			return Block{}, false
		}
	} else if t := s.State.Terminated; t != nil && t.ExitCode == 0 {
		return Block{}, false
	}
	return waiting(s, sidecar), true
}

// waiting describes the state of a container that has not completed or started. A
// sidecar never completes: the pod waits until it is ready.
func waiting(s corev1.ContainerStatus, sidecar bool) (b Block) {
	switch w, t := s.State.Waiting, s.State.Terminated; {
	case w != nil && slices.Contains(starting, w.Reason):
		b = Block{Reason: w.Reason, Message: "it has not started"}
	case w != nil:
		b = Block{Reason: w.Reason, Message: describe(w.Reason, w.Message), Failing: true}
	case t != nil && t.ExitCode != 0:
		b = Block{Reason: t.Reason, Message: describe(fmt.Sprintf("exit code %d", t.ExitCode), t.Message), Failing: true}
	case sidecar:
		b = Block{Message: "it is running and not ready"}
	default:
		b = Block{Message: "it is running and has not completed"}
	}
	b.Logged = s.State.Waiting == nil || s.LastTerminationState.Terminated != nil
	return b
}

func describe(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + message
}

// Unschedulable returns the scheduler's message for a pod that no node can run,
// or an empty string for any other pod.
func Unschedulable(p *corev1.Pod) string {
	if c := condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
		return c.Message
	}
	return ""
}
