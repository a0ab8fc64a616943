// SPDX-License-Identifier: Apache-2.0

// Package launcherpod contains predicates on virt-launcher pods, the pods in
// which KubeVirt runs guests. It is pure. It is the only implementation of
// predicates that several packages use.
package launcherpod

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// appValue is the value of the label kubevirt.io of every virt-launcher pod
// (KubeVirt, pkg/virt-controller/services/template.go).
const appValue = "virt-launcher"

// sidecarContainer is the name of Istio's proxy container (Istio,
// pkg/kube/inject, ProxyContainerName).
const sidecarContainer = "istio-proxy"

// Labels select virt-launcher pods.
func Labels() map[string]string { return map[string]string{kubevirtv1.AppLabel: appValue} }

// HasLabel reports whether the pod has the label of virt-launcher pods. Any
// user who can create pods can set it: see IsLauncher.
func HasLabel(p *corev1.Pod) bool { return p.Labels[kubevirtv1.AppLabel] == appValue }

// IsLauncher reports whether a VirtualMachineInstance controls the pod. KubeVirt never
// uses the host's network for such a pod. Labels do not decide, because a user can remove
// them while the guest runs.
func IsLauncher(p *corev1.Pod) bool { return !p.Spec.HostNetwork && ControllingGuest(p) != "" }

// ControllingGuest returns the UID of the VirtualMachineInstance that controls the pod, or
// an empty UID.
func ControllingGuest(p *corev1.Pod) types.UID {
	ref := metav1.GetControllerOf(p)
	if ref == nil || ref.Kind != "VirtualMachineInstance" || !strings.HasPrefix(ref.APIVersion, kubevirtv1.GroupVersion.Group+"/") {
		return ""
	}
	return ref.UID
}

// GuestName returns the name of the VirtualMachineInstance that controls the pod, which
// is the name of its VirtualMachine, or an empty string.
func GuestName(o metav1.Object) string {
	if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == "VirtualMachineInstance" {
		return ref.Name
	}
	return ""
}

// IsStray reports whether the pod carries the label of a MeshedVirtualMachine to whose
// guest it does not belong, as the pod of a clone does. vm is the name of the
// VirtualMachine of the MeshedVirtualMachine.
func IsStray(p *corev1.Pod, vm string) bool {
	name := GuestName(p)
	return p.Labels[v1alpha1.LabelMeshedVirtualMachine] != "" && name != "" && name != vm
}

// IsTemporary reports whether KubeVirt created the pod only to have a volume
// provisioned. Such a pod runs no guest (KubeVirt,
// pkg/virt-controller/services/template.go, RenderLaunchManifestNoVm).
func IsTemporary(p *corev1.Pod) bool {
	_, ok := p.Annotations[kubevirtv1.EphemeralProvisioningObject]
	return ok
}

// Ended reports whether all containers of a pod have terminated and will not be
// restarted (Kubernetes, Pod lifecycle, Pod phase).
func Ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Condition returns the status of a condition of the pod, or Unknown if the pod
// does not report it.
func Condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	if c := condition(p, t); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}

func condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready reports whether a Service that selects the pod routes traffic to it.
func Ready(p *corev1.Pod) bool { return Condition(p, corev1.PodReady) == corev1.ConditionTrue }

// ReadySince reports whether the pod is ready, and since when.
func ReadySince(p *corev1.Pod) (since time.Time, ready bool) {
	if c := condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time, true
	}
	return time.Time{}, false
}

// SandboxReady reports whether the pod has a network namespace with an address.
// Kubelets before Kubernetes 1.29 do not report the condition; the address alone
// decides then (KEP-3085).
func SandboxReady(p *corev1.Pod) bool {
	return len(p.Status.PodIPs) > 0 && Condition(p, corev1.PodReadyToStartContainers) != corev1.ConditionFalse
}

// SandboxReadySince returns the time at which the kubelet reported the pod's
// current network namespace, or nil if the kubelet does not report it
// (Kubernetes before 1.29, KEP-3085). A different time indicates a different
// namespace.
func SandboxReadySince(p *corev1.Pod) *metav1.Time {
	c := condition(p, corev1.PodReadyToStartContainers)
	if c == nil || c.Status != corev1.ConditionTrue || c.LastTransitionTime.IsZero() {
		return nil
	}
	return c.LastTransitionTime.DeepCopy()
}

// HasSidecar reports whether the pod has Istio's sidecar, as a container or as a
// native sidecar, which is an init container.
func HasSidecar(p *corev1.Pod) bool {
	return anySidecar(p, func(corev1.Container) bool { return true })
}

// SidecarReadySince returns the time at which Istio's sidecar was started if the kubelet
// reports it as ready, otherwise nil.
func SidecarReadySince(p *corev1.Pod) *metav1.Time {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if c.Name == sidecarContainer && c.Ready && c.State.Running != nil {
			return &c.State.Running.StartedAt
		}
	}
	return nil
}

// SidecarEnvTrue reports whether an environment variable of the sidecar has the
// literal value "true".
func SidecarEnvTrue(p *corev1.Pod, variable string) bool {
	return anySidecar(p, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
			return e.Name == variable && strings.EqualFold(e.Value, "true")
		})
	})
}

func anySidecar(p *corev1.Pod, matches func(corev1.Container) bool) bool {
	return slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c corev1.Container) bool {
		return c.Name == sidecarContainer && matches(c)
	})
}

// DataPlane returns the data plane for which the pod was created. The spec of
// its MeshedVirtualMachine may have changed since. istio-cni does not enroll a
// pod that has a sidecar (Istio, cni/pkg/util, PodRedirectionEnabled).
func DataPlane(p *corev1.Pod) v1alpha1.DataPlane {
	if !HasSidecar(p) && p.Labels[v1alpha1.LabelDataPlaneMode] == v1alpha1.DataPlaneModeAmbient {
		return v1alpha1.DataPlaneAmbient
	}
	return v1alpha1.DataPlaneSidecar
}

// AmbientEnrolled reports whether istio-cni has enrolled the pod in ambient mode,
// so that ztunnel has its sockets in the pod.
func AmbientEnrolled(p *corev1.Pod) bool {
	return p.Annotations[v1alpha1.AnnotationAmbientRedirection] == v1alpha1.AmbientRedirectionEnabled
}
