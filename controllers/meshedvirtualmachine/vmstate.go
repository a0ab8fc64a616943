// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/startgate"
)

// obstacles maps the states that KubeVirt prints for a guest that does not start to
// reasons (KubeVirt, pkg/virt-controller/watch/vm, setPrintableStatus).
var obstacles = map[kubevirtv1.VirtualMachinePrintableStatus]v1alpha1.ConditionReason{
	kubevirtv1.VirtualMachineStatusProvisioning:            v1alpha1.ReasonProvisioning,
	kubevirtv1.VirtualMachineStatusWaitingForVolumeBinding: v1alpha1.ReasonProvisioning,
	kubevirtv1.VirtualMachineStatusDataVolumeError:         v1alpha1.ReasonVolumeFailed,
	kubevirtv1.VirtualMachineStatusPvcNotFound:             v1alpha1.ReasonVolumeFailed,
	kubevirtv1.VirtualMachineStatusUnschedulable:           v1alpha1.ReasonUnschedulable,
	kubevirtv1.VirtualMachineStatusErrImagePull:            v1alpha1.ReasonImagePullFailed,
	kubevirtv1.VirtualMachineStatusImagePullBackOff:        v1alpha1.ReasonImagePullFailed,
	kubevirtv1.VirtualMachineStatusCrashLoopBackOff:        v1alpha1.ReasonCrashLoop,
}

// blockReasons maps the reasons of the kubelet for a container that cannot start.
var blockReasons = map[string]v1alpha1.ConditionReason{
	"ErrImagePull":      v1alpha1.ReasonImagePullFailed,
	"ImagePullBackOff":  v1alpha1.ReasonImagePullFailed,
	"InvalidImageName":  v1alpha1.ReasonImagePullFailed,
	"ErrImageNeverPull": v1alpha1.ReasonImagePullFailed,
	"CrashLoopBackOff":  v1alpha1.ReasonCrashLoop,
}

// ended reports whether KubeVirt prints that the guest is stopped. KubeVirt also prints
// this before it starts the guest and after it failed to create the
// VirtualMachineInstance, see awaitsStart. The VirtualMachineInstance of a terminated
// guest exists until the next start.
func (s *scope) ended() bool {
	return s.vm.Status.PrintableStatus == kubevirtv1.VirtualMachineStatusStopped && (s.vmi == nil || s.vmi.IsFinal())
}

// strategy returns the run strategy of the VirtualMachine. If the spec sets one, the
// operator enforces it.
func (s *scope) strategy() kubevirtv1.VirtualMachineRunStrategy {
	strategy, err := s.vm.RunStrategy()
	if err != nil {
		return kubevirtv1.RunStrategyUnknown
	}
	return strategy
}

// awaitsStart reports whether KubeVirt starts a guest that it prints as stopped, or
// fails to (KubeVirt, pkg/virt-controller/watch/vm, syncRunStrategy and
// shouldStartRerunOnFailure). A start request for the run strategy Halted changes the
// run strategy to Always.
func (s *scope) awaitsStart(strategy kubevirtv1.VirtualMachineRunStrategy) bool {
	requested := slices.ContainsFunc(s.vm.Status.StateChangeRequests, func(r kubevirtv1.VirtualMachineStateChangeRequest) bool {
		return r.Action == kubevirtv1.StartRequest
	})
	switch {
	case requested:
		return true
	case strategy == kubevirtv1.RunStrategyHalted:
		return false
	case s.failure() != "":
		return true
	case s.vmi != nil:
		return false
	default:
		return strategy == kubevirtv1.RunStrategyOnce ||
			strategy == kubevirtv1.RunStrategyRerunOnFailure && s.vm.Status.RunStrategy != strategy
	}
}

// afterEnd returns the condition VirtualMachineReady of a guest that has ended and that
// its run strategy does not start again. Such a guest is in its desired state unless
// it has failed.
func (s *scope) afterEnd() (c conditions.Condition, stays bool) {
	const t = v1alpha1.ConditionVirtualMachineReady
	if s.vm == nil || !s.ended() {
		return conditions.Condition{}, false
	}
	strategy := s.strategy()
	failed := s.vmi != nil && s.vmi.Status.Phase == kubevirtv1.Failed
	switch {
	case s.awaitsStart(strategy):
		return conditions.Condition{}, false
	case strategy == kubevirtv1.RunStrategyHalted:
		return conditions.True(t, v1alpha1.ReasonStopped, "the guest is stopped, as its run strategy Halted specifies"), true
	case failed && (strategy == kubevirtv1.RunStrategyManual || strategy == kubevirtv1.RunStrategyOnce):
		return conditions.False(t, v1alpha1.ReasonGuestFailed,
			fmt.Sprintf("the guest has failed, and its run strategy %s does not start it again: %s", strategy, s.howToStart(strategy))), true
	case strategy == kubevirtv1.RunStrategyManual, strategy == kubevirtv1.RunStrategyOnce, strategy == kubevirtv1.RunStrategyRerunOnFailure && !failed:
		return conditions.True(t, v1alpha1.ReasonStopped,
			fmt.Sprintf("the guest is stopped, and its run strategy %s does not start it: to start it, %s", strategy, s.howToStart(strategy))), true
	default:
		return conditions.Condition{}, false
	}
}

// howToStart returns the command that starts a stopped guest. KubeVirt refuses to start
// a guest with the run strategy Once again (KubeVirt, pkg/virt-api/rest/lifecycle.go).
func (s *scope) howToStart(strategy kubevirtv1.VirtualMachineRunStrategy) string {
	if strategy == kubevirtv1.RunStrategyOnce {
		return "set " + s.vmSpec() + ".runStrategy to Always or Manual"
	}
	return "run virtctl -n " + s.mvm.Namespace + " start " + s.mvm.VirtualMachineName()
}

// vmSpec names the spec of the VirtualMachine that a user edits.
func (s *scope) vmSpec() string {
	if s.mvm.Spec.Adopts() {
		return "VirtualMachine " + s.mvm.VirtualMachineName() + " spec"
	}
	return "spec.virtualMachine"
}

// stopped reports whether the guest is stopped, as its run strategy permits.
func (s *scope) stopped() bool {
	c := s.virtualMachineReady()
	return c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonStopped
}

// stopping reports whether KubeVirt is shutting down the guest.
func (s *scope) stopping() bool {
	p := s.vm.Status.PrintableStatus
	return p == kubevirtv1.VirtualMachineStatusStopping || p == kubevirtv1.VirtualMachineStatusTerminating ||
		s.strategy() == kubevirtv1.RunStrategyHalted && s.vmi != nil
}

// notStarted returns the condition VirtualMachineReady of a guest that is not
// running.
func (s *scope) notStarted(ready *kubevirtv1.VirtualMachineCondition) conditions.Condition {
	const t = v1alpha1.ConditionVirtualMachineReady
	var pod *guestPod
	if len(s.guestPods) > 0 {
		pod = &s.guestPods[0]
	}
	if reason, message := s.obstacle(pod); reason != "" {
		return conditions.False(t, reason, message)
	}
	return conditions.False(t, v1alpha1.ReasonStarting,
		cmp.Or(s.failure(), s.notSynchronized(), messageOf(ready), "waiting for KubeVirt to start the guest"))
}

// awaitsRules returns the condition VirtualMachineReady of a guest that the
// gate of its pod delays. The gate is not the cause while another container
// blocks the pod.
func (s *scope) awaitsRules(g *guestPod) conditions.Condition {
	const t = v1alpha1.ConditionVirtualMachineReady
	reason, message := s.obstacle(g)
	switch {
	case reason != "":
		return conditions.False(t, reason, message)
	case g.rules.Status == metav1.ConditionTrue && g.gateBlocks:
		return conditions.False(t, v1alpha1.ReasonStarting,
			"the rules of pod "+g.Name+" are verified, and its container "+startgate.Container+" has not completed yet")
	default:
		return conditions.False(t, v1alpha1.ReasonStarting, "the guest starts when the rules of pod "+g.Name+" are verified")
	}
}

// obstacle returns the reason why a guest does not start: KubeVirt's state of
// the VirtualMachine, or the state of the pod. The reason is empty if there is
// no obstacle.
func (s *scope) obstacle(pod *guestPod) (reason v1alpha1.ConditionReason, message string) {
	if s.vmi != nil && s.vmi.Status.Phase == kubevirtv1.Running {
		return "", ""
	}
	if pod != nil {
		if reason, message := podObstacle(pod); reason != "" {
			return reason, message
		}
	}
	printed := s.vm.Status.PrintableStatus
	if reason = obstacles[printed]; reason == "" {
		return "", ""
	}
	return reason, strings.TrimSuffix("KubeVirt reports "+string(printed)+": "+s.detail(reason), ": ")
}

// podObstacle returns the obstacle in the pod of a guest.
func podObstacle(g *guestPod) (reason v1alpha1.ConditionReason, message string) {
	if why := launcherpod.Unschedulable(g.Pod); why != "" {
		return v1alpha1.ReasonUnschedulable, "no node can run pod " + g.Name + ": " + why
	}
	b, found := launcherpod.Blocker(g.Pod)
	// The containers before the gate take some time. They are the obstacle only if
	// no other container is.
	if !found || b.Container == startgate.Container || !b.Failing && g.rules.Status != metav1.ConditionTrue {
		return "", ""
	}
	kind := "container"
	if b.Init {
		kind = "init container"
	}
	message = fmt.Sprintf("pod %s waits for its %s %s: %s", g.Name, kind, b.Container, b.Message)
	switch {
	case b.Logged:
		message += fmt.Sprintf("; see kubectl -n %s logs %s -c %s", g.Namespace, g.Name, b.Container)
	case b.Failing:
		message += fmt.Sprintf("; see kubectl -n %s describe pod %s", g.Namespace, g.Name)
	}
	return cmp.Or(blockReasons[b.Reason], v1alpha1.ReasonStarting), message
}

// detail returns KubeVirt's message about an obstacle, or the command that
// shows details.
func (s *scope) detail(reason v1alpha1.ConditionReason) string {
	switch reason {
	case v1alpha1.ReasonProvisioning, v1alpha1.ReasonVolumeFailed:
		return cmp.Or(s.failure(), s.falseMessage(string(kubevirtv1.VirtualMachineInstanceDataVolumesReady)), s.notSynchronized(), s.describeVolumes())
	case v1alpha1.ReasonUnschedulable:
		return cmp.Or(s.falseMessage(string(corev1.PodScheduled)), s.failure())
	case v1alpha1.ReasonCrashLoop:
		detail := s.failure()
		if f := s.vm.Status.StartFailure; f != nil {
			detail = strings.TrimSuffix(fmt.Sprintf("the guest failed to start %d consecutive times: %s", f.ConsecutiveFailCount, detail), ": ")
		}
		return detail
	default:
		return cmp.Or(s.notSynchronized(), s.failure())
	}
}

// describeVolumes returns the command that shows the state of the guest's
// DataVolumes and claims, which the operator does not read.
func (s *scope) describeVolumes() string {
	template := s.vm.Spec.Template
	if template == nil {
		return ""
	}
	var names []string
	for _, v := range template.Spec.Volumes {
		switch {
		case v.DataVolume != nil:
			names = append(names, "datavolume/"+v.DataVolume.Name)
		case v.PersistentVolumeClaim != nil:
			names = append(names, "persistentvolumeclaim/"+v.PersistentVolumeClaim.ClaimName)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "see kubectl -n " + s.mvm.Namespace + " describe " + strings.Join(names, " ")
}

// failure returns the message of KubeVirt's condition Failure, or an empty
// string.
func (s *scope) failure() string {
	if c := s.vmCondition(kubevirtv1.VirtualMachineFailure); c != nil && c.Status == corev1.ConditionTrue {
		return c.Message
	}
	return ""
}

// falseMessage returns the message of a condition of the VirtualMachineInstance
// or of the VirtualMachine that is False.
func (s *scope) falseMessage(t string) string {
	if s.vmi != nil {
		i := slices.IndexFunc(s.vmi.Status.Conditions, func(c kubevirtv1.VirtualMachineInstanceCondition) bool {
			return string(c.Type) == t && c.Status == corev1.ConditionFalse
		})
		if i >= 0 {
			return s.vmi.Status.Conditions[i].Message
		}
	}
	if c := s.vmCondition(kubevirtv1.VirtualMachineConditionType(t)); c != nil && c.Status == corev1.ConditionFalse {
		return c.Message
	}
	return ""
}

// migrationObstacle describes the pod of a live migration that does not start,
// or returns an empty string. The guest continues to run on its node.
func (s *scope) migrationObstacle() string {
	for i := range s.guestPods {
		g := &s.guestPods[i]
		if g.role != v1alpha1.PodRoleMigrationTarget {
			continue
		}
		if reason, message := podObstacle(g); reason != "" {
			return "; its live migration waits: " + message
		}
	}
	return ""
}
