// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// Containers that the operator's webhook adds to virt-launcher pods.
const (
	// GateContainer holds back the guest: an init container, which ends when
	// the rules were verified.
	GateContainer = "meshvm-gate"
	// GateWatchContainer keeps the pod from being ready until the rules were
	// verified, and when they are lost later: a native sidecar.
	GateWatchContainer = "meshvm-gate-watch"
)

// HasGate says whether the pod was made with the container that holds back the
// guest.
func HasGate(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == GateContainer })
}

// HasWatch says whether the pod was made with the container that keeps it from
// being ready while its rules are not verified.
func HasWatch(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == GateWatchContainer })
}

// GateHolds says whether that container still holds back the guest: the kubelet
// starts no regular container before all init containers have ended well.
func GateHolds(pod *corev1.Pod) bool {
	return HasGate(pod) && !slices.ContainsFunc(pod.Status.InitContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.Name == GateContainer && c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
	}) && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		// What the kubelet knew of an init container may be gone by now.
		return c.State.Running != nil || c.State.Terminated != nil
	})
}

// gatePorts are those of the rule that the pod's containers look for.
func gatePorts(pod *corev1.Pod) v1alpha1.GatePorts {
	if !HasGate(pod) && !HasWatch(pod) {
		return v1alpha1.GatePorts{}
	}
	return v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}
}

// planGate refuses ports other than those that the container has.
func planGate(g v1alpha1.GatePorts, path *field.Path) (*ruleio.Gate, error) {
	switch g {
	case v1alpha1.GatePorts{}:
		return nil, nil //nolint:nilnil // no gate, no error
	case v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}:
		return &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}, nil
	default:
		return nil, invalidf(v1alpha1.ReasonInvalidPort, path.String(),
			"must be port %d and answerPort %d, where the container of the gate listens", ruleio.GatePort, ruleio.GateAnswerPort)
	}
}
