// SPDX-License-Identifier: Apache-2.0

// Package startgate implements the manager's part of the start gate: the names
// of its containers, the predicates on a pod, and the patch that adds the
// containers to a virt-launcher pod. Package gate implements the program that
// runs in these containers. docs/start-gate.md describes the design.
package startgate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Containers that the operator's webhook adds to virt-launcher pods.
const (
	// Container is the init container that delays the guest. It exits when the
	// rules of the pod are verified.
	Container = "meshvm-gate"
	// WatchContainer is the native sidecar that keeps the pod not ready until the
	// rules are verified, and makes it not ready if they are lost later.
	WatchContainer = "meshvm-gate-watch"
)

// HasGate reports whether the pod was created with the container that delays the
// guest.
func HasGate(p *corev1.Pod) bool { return hasInitContainer(p, Container) }

// HasWatch reports whether the pod was created with the container that makes it
// not ready while its rules are not verified.
func HasWatch(p *corev1.Pod) bool { return hasInitContainer(p, WatchContainer) }

func hasInitContainer(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// Blocks reports whether the gate still delays the guest: the kubelet starts no
// regular container before all init containers have succeeded. A regular
// container that has started shows that the gate was open, even when the kubelet
// no longer reports the status of the init container.
func Blocks(p *corev1.Pod) bool {
	return HasGate(p) && !slices.ContainsFunc(p.Status.InitContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == Container && c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
	}) && !slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil
	})
}
