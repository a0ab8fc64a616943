// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/startgate"
)

// notRunning changes the guest to a state that KubeVirt reports, without a pod.
func notRunning(printed kubevirtv1.VirtualMachinePrintableStatus, mods ...func(*scope)) *scope {
	return world(func(s *scope) {
		s.vm.Status = kubevirtv1.VirtualMachineStatus{PrintableStatus: printed, Conditions: []kubevirtv1.VirtualMachineCondition{
			{Type: kubevirtv1.VirtualMachineReady, Status: corev1.ConditionFalse, Message: "VMI does not exist"},
		}}
		s.vm.Spec = *s.mvm.Spec.VirtualMachine.DeepCopy()
		s.vm.Spec.Template.Spec.Volumes = []kubevirtv1.Volume{
			{Name: "root", VolumeSource: kubevirtv1.VolumeSource{DataVolume: &kubevirtv1.DataVolumeSource{Name: "web-root"}}},
		}
		s.vmi, s.pods, s.nats = nil, nil, map[types.UID]v1alpha1.PodNATConfiguration{}
		for _, m := range mods {
			m(s)
		}
	})
}

// withPod adds a VirtualMachineInstance in a phase and its pod.
func withPod(phase kubevirtv1.VirtualMachineInstancePhase, rules metav1.ConditionStatus, mods ...func(*corev1.Pod)) func(*scope) {
	return func(s *scope) {
		s.vmi = builders.VMI("web").Obj()
		s.vmi.Status.Phase = phase
		pod := builders.LauncherPod(s.vmi, "abcde").Node("node-a").Obj()
		pod.Spec.InitContainers = []corev1.Container{{Name: "istio-validation"}, {Name: startgate.Container}}
		for _, m := range mods {
			m(pod)
		}
		s.pods = []corev1.Pod{*pod}
		s.nats[pod.UID] = nat(pod.UID, rules, v1alpha1.ReasonReady, 1)
	}
}

// initState sets the state of the first init container. The gate waits for it.
func initState(state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{
			{Name: "istio-validation", State: state},
			{Name: startgate.Container, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}},
		}
		if state.Waiting != nil && state.Waiting.Reason == "CrashLoopBackOff" {
			p.Status.InitContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
		}
	}
}

func unschedulable(p *corev1.Pod) {
	p.Spec.NodeName = ""
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available",
	})
}

func vmFailure(message string) func(*scope) {
	return func(s *scope) {
		s.vm.Status.Conditions = append(s.vm.Status.Conditions,
			kubevirtv1.VirtualMachineCondition{Type: kubevirtv1.VirtualMachineFailure, Status: corev1.ConditionTrue, Message: message})
	}
}

func vmiCondition(t kubevirtv1.VirtualMachineInstanceConditionType, message string) func(*scope) {
	return func(s *scope) {
		s.vmi.Status.Conditions = append(s.vmi.Status.Conditions,
			kubevirtv1.VirtualMachineInstanceCondition{Type: t, Status: corev1.ConditionFalse, Message: message})
	}
}

// startRequested adds the request of virtctl start, or of KubeVirt after a failure.
func startRequested(s *scope) {
	s.vm.Status.StateChangeRequests = []kubevirtv1.VirtualMachineStateChangeRequest{{Action: kubevirtv1.StopRequest}, {Action: kubevirtv1.StartRequest}}
}

// recorded sets the run strategy that KubeVirt recorded last.
func recorded(strategy kubevirtv1.VirtualMachineRunStrategy) func(*scope) {
	return func(s *scope) { s.vm.Status.RunStrategy = strategy }
}

// TestGuestDoesNotStart checks the reason and the message for guests that do not run.
func TestGuestDoesNotStart(t *testing.T) {
	crashing := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 40s"}}
	pulling := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}
	hanging := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	for name, tc := range map[string]struct {
		scope   *scope
		reason  v1alpha1.ConditionReason
		message string
	}{
		"waiting":                                {notRunning(kubevirtv1.VirtualMachineStatusStarting), v1alpha1.ReasonStarting, "VMI does not exist"},
		"import":                                 {notRunning(kubevirtv1.VirtualMachineStatusProvisioning), v1alpha1.ReasonProvisioning, "KubeVirt reports Provisioning: see kubectl -n shop describe datavolume/web-root"},
		"unbound volume":                         {notRunning(kubevirtv1.VirtualMachineStatusWaitingForVolumeBinding), v1alpha1.ReasonProvisioning, "WaitingForVolumeBinding: see kubectl"},
		"import failed":                          {notRunning(kubevirtv1.VirtualMachineStatusDataVolumeError, vmFailure("cannot create DataVolume")), v1alpha1.ReasonVolumeFailed, "KubeVirt reports DataVolumeError: cannot create DataVolume"},
		"quota":                                  {notRunning(kubevirtv1.VirtualMachineStatusStopped, vmFailure("exceeded quota")), v1alpha1.ReasonStarting, "exceeded quota"},
		"missing claim":                          {notRunning(kubevirtv1.VirtualMachineStatusPvcNotFound, withPod(kubevirtv1.Pending, metav1.ConditionFalse), vmiCondition(kubevirtv1.VirtualMachineInstanceSynchronized, "PVC shop/web-root does not exist")), v1alpha1.ReasonVolumeFailed, "ErrorPvcNotFound: PVC shop/web-root does not exist"},
		"DataVolumes":                            {notRunning(kubevirtv1.VirtualMachineStatusProvisioning, withPod(kubevirtv1.Pending, metav1.ConditionFalse), vmiCondition(kubevirtv1.VirtualMachineInstanceDataVolumesReady, "Not all of the VMI's DVs are ready")), v1alpha1.ReasonProvisioning, "Provisioning: Not all of the VMI's DVs are ready"},
		"unschedulable":                          {notRunning(kubevirtv1.VirtualMachineStatusUnschedulable, withPod(kubevirtv1.Scheduling, metav1.ConditionFalse, unschedulable)), v1alpha1.ReasonUnschedulable, ": 0/3 nodes are available"},
		"unschedulable, without a pod condition": {notRunning(kubevirtv1.VirtualMachineStatusUnschedulable, withPod(kubevirtv1.Scheduling, metav1.ConditionFalse), vmiCondition("PodScheduled", "no node has GPUs")), v1alpha1.ReasonUnschedulable, "ErrorUnschedulable: no node has GPUs"},
		"image":                                  {notRunning(kubevirtv1.VirtualMachineStatusErrImagePull, withPod(kubevirtv1.Scheduling, metav1.ConditionFalse), vmiCondition(kubevirtv1.VirtualMachineInstanceSynchronized, "failed to pull image")), v1alpha1.ReasonImagePullFailed, "ErrImagePull: failed to pull image"},
		"image of init":                          {notRunning(kubevirtv1.VirtualMachineStatusStarting, withPod(kubevirtv1.Scheduling, metav1.ConditionTrue, initState(pulling))), v1alpha1.ReasonImagePullFailed, "init container istio-validation: ErrImagePull: not found; see kubectl -n shop describe pod virt-launcher-web-abcde"},
		"crash loop": {notRunning(kubevirtv1.VirtualMachineStatusCrashLoopBackOff, func(s *scope) {
			s.vm.Status.StartFailure = &kubevirtv1.VirtualMachineStartFailure{ConsecutiveFailCount: 3}
		}), v1alpha1.ReasonCrashLoop, "CrashLoopBackOff: the guest failed to start 3 consecutive times"},
		"crash of init":                {notRunning(kubevirtv1.VirtualMachineStatusStarting, withPod(kubevirtv1.Scheduling, metav1.ConditionFalse, initState(crashing))), v1alpha1.ReasonCrashLoop, "init container istio-validation: CrashLoopBackOff: back-off 40s; see kubectl -n shop logs virt-launcher-web-abcde -c istio-validation"},
		"init container still running": {notRunning(kubevirtv1.VirtualMachineStatusStarting, withPod(kubevirtv1.Scheduling, metav1.ConditionTrue, initState(hanging))), v1alpha1.ReasonStarting, "waits for its init container istio-validation: it is running and has not completed"},
		"rules not ready":              {notRunning(kubevirtv1.VirtualMachineStatusStarting, withPod(kubevirtv1.Scheduling, metav1.ConditionFalse, initState(hanging))), v1alpha1.ReasonStarting, "the guest starts when the rules of pod virt-launcher-web-abcde are verified"},
		"gate still waits":             {notRunning(kubevirtv1.VirtualMachineStatusStarting, withPod(kubevirtv1.Scheduling, metav1.ConditionTrue, initState(done))), v1alpha1.ReasonStarting, "its container meshvm-gate has not completed yet"},
		"stopping":                     {notRunning(kubevirtv1.VirtualMachineStatusStopping, withPod(kubevirtv1.Running, metav1.ConditionTrue)), v1alpha1.ReasonStopping, "shutting down the guest"},
		"started again":                {notRunning(kubevirtv1.VirtualMachineStatusStopped, withPod(kubevirtv1.Pending, metav1.ConditionFalse)), v1alpha1.ReasonStarting, "the guest starts when the rules of pod"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.scope.virtualMachineReady()
			if c.Status != metav1.ConditionFalse || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("got %s/%s %q\nwant False/%s %q", c.Status, c.Reason, c.Message, tc.reason, tc.message)
			}
		})
	}
}

// TestEndedGuests checks which ended guests are in their desired state.
func TestEndedGuests(t *testing.T) {
	const again = "to start it, run virtctl -n shop start web"
	for name, tc := range map[string]struct {
		strategy kubevirtv1.VirtualMachineRunStrategy
		phase    kubevirtv1.VirtualMachineInstancePhase
		mod      func(*scope)
		status   metav1.ConditionStatus
		reason   v1alpha1.ConditionReason
		message  string
	}{
		"Halted":                                            {kubevirtv1.RunStrategyHalted, "", nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, "as its run strategy Halted specifies"},
		"Halted, guest failed":                              {kubevirtv1.RunStrategyHalted, kubevirtv1.Failed, nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, ""},
		"Manual, never started":                             {kubevirtv1.RunStrategyManual, "", nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, again},
		"Manual, shut down by itself":                       {kubevirtv1.RunStrategyManual, kubevirtv1.Succeeded, nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, again},
		"Manual, failed":                                    {kubevirtv1.RunStrategyManual, kubevirtv1.Failed, nil, metav1.ConditionFalse, v1alpha1.ReasonGuestFailed, "its run strategy Manual does not start it again: run virtctl -n shop start web"},
		"Once, ended":                                       {kubevirtv1.RunStrategyOnce, kubevirtv1.Succeeded, nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, "set spec.virtualMachine.runStrategy"},
		"Once, failed":                                      {kubevirtv1.RunStrategyOnce, kubevirtv1.Failed, nil, metav1.ConditionFalse, v1alpha1.ReasonGuestFailed, "set spec.virtualMachine.runStrategy"},
		"RerunOnFailure, ended":                             {kubevirtv1.RunStrategyRerunOnFailure, kubevirtv1.Succeeded, nil, metav1.ConditionTrue, v1alpha1.ReasonStopped, again},
		"RerunOnFailure, failed":                            {kubevirtv1.RunStrategyRerunOnFailure, kubevirtv1.Failed, nil, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"Halted, start requested":                           {kubevirtv1.RunStrategyHalted, "", startRequested, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"Halted, KubeVirt fails":                            {kubevirtv1.RunStrategyHalted, "", vmFailure("exceeded quota"), metav1.ConditionTrue, v1alpha1.ReasonStopped, ""},
		"Manual, start requested":                           {kubevirtv1.RunStrategyManual, "", startRequested, metav1.ConditionFalse, v1alpha1.ReasonStarting, "VMI does not exist"},
		"Manual, ended, start requested":                    {kubevirtv1.RunStrategyManual, kubevirtv1.Succeeded, startRequested, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"Manual, failed, start requested":                   {kubevirtv1.RunStrategyManual, kubevirtv1.Failed, startRequested, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"Manual, not created":                               {kubevirtv1.RunStrategyManual, "", vmFailure("exceeded quota"), metav1.ConditionFalse, v1alpha1.ReasonStarting, "exceeded quota"},
		"Once, not started yet":                             {kubevirtv1.RunStrategyOnce, "", nil, metav1.ConditionFalse, v1alpha1.ReasonStarting, "VMI does not exist"},
		"Once, not created":                                 {kubevirtv1.RunStrategyOnce, "", vmFailure("exceeded quota"), metav1.ConditionFalse, v1alpha1.ReasonStarting, "exceeded quota"},
		"RerunOnFailure, ended and its instance is deleted": {kubevirtv1.RunStrategyRerunOnFailure, "", recorded(kubevirtv1.RunStrategyRerunOnFailure), metav1.ConditionTrue, v1alpha1.ReasonStopped, again},
		"RerunOnFailure, never started":                     {kubevirtv1.RunStrategyRerunOnFailure, "", nil, metav1.ConditionFalse, v1alpha1.ReasonStarting, "VMI does not exist"},
		"RerunOnFailure, Halted before":                     {kubevirtv1.RunStrategyRerunOnFailure, "", recorded(kubevirtv1.RunStrategyHalted), metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"RerunOnFailure, restart after a failure":           {kubevirtv1.RunStrategyRerunOnFailure, "", func(s *scope) { recorded(kubevirtv1.RunStrategyRerunOnFailure)(s); startRequested(s) }, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
		"RerunOnFailure, not created":                       {kubevirtv1.RunStrategyRerunOnFailure, "", func(s *scope) { recorded(kubevirtv1.RunStrategyRerunOnFailure)(s); vmFailure("exceeded quota")(s) }, metav1.ConditionFalse, v1alpha1.ReasonStarting, "exceeded quota"},
		"left out of the spec, stopped with virtctl":        {kubevirtv1.RunStrategyHalted, "", func(s *scope) { s.mvm.Spec.VirtualMachine.RunStrategy = nil }, metav1.ConditionTrue, v1alpha1.ReasonStopped, "as its run strategy Halted specifies"},
		"Always, ended":                                     {kubevirtv1.RunStrategyAlways, kubevirtv1.Succeeded, nil, metav1.ConditionFalse, v1alpha1.ReasonStarting, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := notRunning(kubevirtv1.VirtualMachineStatusStopped, func(s *scope) {
				s.vm.Spec.RunStrategy = &tc.strategy
				if tc.phase != "" {
					s.vmi = builders.VMI("web").Phase(tc.phase).Obj()
				}
				if tc.mod != nil {
					tc.mod(s)
				}
			})
			c := s.virtualMachineReady()
			if c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("got %s/%s %q\nwant %s/%s %q", c.Status, c.Reason, c.Message, tc.status, tc.reason, tc.message)
			}
		})
	}
}

// TestMigrationThatCannotBeScheduled checks that the guest stays Ready, and that its
// messages name the pod that waits.
func TestMigrationThatCannotBeScheduled(t *testing.T) {
	for name, gated := range map[string]bool{"with a gate": true, "without a gate": false} {
		t.Run(name, func(t *testing.T) {
			s := world(func(s *scope) {
				s.vmi.Status.NodeName, s.vmi.Status.Phase = "node-a", kubevirtv1.Running
				target := builders.LauncherPod(s.vmi, "target").UID("target").Obj()
				unschedulable(target)
				if gated {
					target.Spec.InitContainers = []corev1.Container{{Name: startgate.Container}}
				}
				s.pods = append(s.pods, *target)
			})
			for _, c := range s.conditions() {
				named := c.Type == v1alpha1.ConditionVirtualMachineReady || c.Type == v1alpha1.ConditionNATProgrammed
				if named && !strings.Contains(c.Message, "0/3 nodes are available") {
					t.Errorf("%s: %s", c.Type, c.Message)
				}
				if (named || c.Type == v1alpha1.ConditionReady) && c.Status != metav1.ConditionTrue {
					t.Errorf("%s is %s/%s: %s", c.Type, c.Status, c.Reason, c.Message)
				}
			}
		})
	}
}
