// SPDX-License-Identifier: Apache-2.0

package launcherpod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/launcherpod"
)

// TestIsLauncher contains pods by which a user who can create pods imitates a
// virt-launcher pod. Each differs from a virt-launcher pod in one field.
func TestIsLauncher(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(p *corev1.Pod)
		want   bool
	}{
		"created by KubeVirt":             {func(*corev1.Pod) {}, true},
		"another version of KubeVirt":     {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "kubevirt.io/v1alpha3" }, true},
		"a label was removed":             {func(p *corev1.Pod) { delete(p.Labels, kubevirtv1.AppLabel) }, true},
		"a label was changed":             {func(p *corev1.Pod) { p.Labels[kubevirtv1.AppLabel] = "virt-handler" }, true},
		"all labels were removed":         {func(p *corev1.Pod) { p.Labels = nil }, true},
		"no owner":                        {func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		"an owner that is not controller": {func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }, false},
		"an owner of another kind":        {func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "VirtualMachine" }, false},
		"an owner of another group":       {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "example.com/v1" }, false},
		"a group with the same prefix":    {func(p *corev1.Pod) { p.OwnerReferences[0].APIVersion = "kubevirt.io.example.com/v1" }, false},
		"the host's network":              {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := b.LauncherPod(b.VMI("web").Obj(), "abcde").Obj()
			tc.change(pod)
			if got := launcherpod.IsLauncher(pod); got != tc.want {
				t.Errorf("IsLauncher is %t, want %t", got, tc.want)
			}
		})
	}
}

func TestPhasesAndConditions(t *testing.T) {
	for phase, ended := range map[corev1.PodPhase]bool{
		"": false, corev1.PodPending: false, corev1.PodRunning: false, corev1.PodUnknown: false,
		corev1.PodSucceeded: true, corev1.PodFailed: true,
	} {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: phase}}
		if launcherpod.Ended(p) != ended {
			t.Errorf("phase %q: Ended is %t", phase, !ended)
		}
	}
	for status, ready := range map[corev1.ConditionStatus]bool{corev1.ConditionTrue: true, corev1.ConditionFalse: false, corev1.ConditionUnknown: false} {
		p := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}}
		if launcherpod.Ready(p) != ready {
			t.Errorf("condition Ready=%s: Ready is %t", status, !ready)
		}
	}
	if got := launcherpod.Condition(&corev1.Pod{}, corev1.PodReady); got != corev1.ConditionUnknown {
		t.Errorf("a condition that the pod does not report is %q, want Unknown", got)
	}
}

func TestSandbox(t *testing.T) {
	at := metav1.NewTime(b.Epoch.Time)
	ips := []corev1.PodIP{{IP: "10.244.0.8"}}
	condition := func(status corev1.ConditionStatus, at metav1.Time) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: status, LastTransitionTime: at}}
	}
	for name, tc := range map[string]struct {
		status corev1.PodStatus
		ready  bool
		since  *metav1.Time
	}{
		"ready":                    {corev1.PodStatus{PodIPs: ips, Conditions: condition(corev1.ConditionTrue, at)}, true, &at},
		"an older kubelet":         {corev1.PodStatus{PodIPs: ips}, true, nil},
		"an older kubelet, no IP":  {corev1.PodStatus{}, false, nil},
		"sandbox being recreated":  {corev1.PodStatus{PodIPs: ips, Conditions: condition(corev1.ConditionFalse, at)}, false, nil},
		"sandbox without address":  {corev1.PodStatus{Conditions: condition(corev1.ConditionTrue, at)}, false, &at},
		"condition without a time": {corev1.PodStatus{PodIPs: ips, Conditions: condition(corev1.ConditionTrue, metav1.Time{})}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Status: tc.status}
			if got := launcherpod.SandboxReady(p); got != tc.ready {
				t.Errorf("SandboxReady is %t", got)
			}
			if got := launcherpod.SandboxReadySince(p); (got == nil) != (tc.since == nil) || got != nil && !got.Equal(tc.since) {
				t.Errorf("SandboxReadySince is %v, want %v", got, tc.since)
			}
		})
	}
}

func TestDataPlane(t *testing.T) {
	sidecar := corev1.Container{Name: "istio-proxy", Env: []corev1.EnvVar{{Name: "ISTIO_META_DNS_CAPTURE", Value: "True"}}}
	ambient := map[string]string{v1alpha1.LabelDataPlaneMode: v1alpha1.DataPlaneModeAmbient}
	for name, tc := range map[string]struct {
		pod     corev1.Pod
		sidecar bool
		want    v1alpha1.DataPlane
	}{
		"no proxy":                      {corev1.Pod{}, false, v1alpha1.DataPlaneSidecar},
		"sidecar":                       {corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{sidecar}}}, true, v1alpha1.DataPlaneSidecar},
		"native sidecar":                {corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{sidecar}}}, true, v1alpha1.DataPlaneSidecar},
		"ambient":                       {corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: ambient}}, false, v1alpha1.DataPlaneAmbient},
		"ambient, with sidecar":         {corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: ambient}, Spec: corev1.PodSpec{Containers: []corev1.Container{sidecar}}}, true, v1alpha1.DataPlaneSidecar},
		"another mode in label":         {corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelDataPlaneMode: "none"}}}, false, v1alpha1.DataPlaneSidecar},
		"a container with another name": {corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy-2"}}}}, false, v1alpha1.DataPlaneSidecar},
	} {
		t.Run(name, func(t *testing.T) {
			if got := launcherpod.HasSidecar(&tc.pod); got != tc.sidecar {
				t.Errorf("HasSidecar is %t", got)
			}
			if got := launcherpod.SidecarEnvTrue(&tc.pod, "ISTIO_META_DNS_CAPTURE"); got != tc.sidecar {
				t.Errorf("SidecarEnvTrue is %t", got)
			}
			if got := launcherpod.DataPlane(&tc.pod); got != tc.want {
				t.Errorf("DataPlane is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTemporaryPods(t *testing.T) {
	pod := b.LauncherPod(b.VMI("web").Obj(), "abcde").Obj()
	if launcherpod.IsTemporary(pod) || launcherpod.ControllingGuest(pod) != types.UID(pod.Labels[kubevirtv1.CreatedByLabel]) {
		t.Errorf("a guest's pod: temporary %t, controlled by %s", launcherpod.IsTemporary(pod), launcherpod.ControllingGuest(pod))
	}
	pod.Annotations = map[string]string{kubevirtv1.EphemeralProvisioningObject: "true"}
	if !launcherpod.IsTemporary(pod) {
		t.Error("a pod that only provisions a volume is not recognized")
	}
}
