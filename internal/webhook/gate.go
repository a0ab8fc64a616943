// SPDX-License-Identifier: Apache-2.0

// Package webhook adds the gate to virt-launcher pods: containers that hold back
// the guest until the rules of the pod were verified, and that make the pod not
// ready when they are lost (docs/start-gate.md).
// What it makes of a pod is a pure function; the handler around it is thin.
package webhook

import (
	"slices"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/natplan"
)

// Options are what the installation decides about the gate.
type Options struct {
	// Image is that of the rule-writer, whose program is the gate too. The node
	// pulls it for pods in users' namespaces, with the pull secrets of these.
	Image string
	// PullPolicy is the image's, empty for the API server's default.
	PullPolicy corev1.PullPolicy
}

// gateUser is any user without rights; the number is that of "nonroot" in
// distroless images.
const gateUser = 65532

// startupLimit is how many seconds the start-up probe may fail before the kubelet
// starts the container anew, which changes nothing for the pod: a day.
const startupLimit = 24 * 60 * 60

// Patch is what has to be done to a pod that asks for the gate, nil if nothing.
// It leaves alone pods that are not KubeVirt's, those that have the gate, and
// those that KubeVirt makes to have a volume bound, which run no guest. It names
// what is added and nothing else, so that fields which this program does not
// know stay as they are.
func Patch(pod *corev1.Pod, o Options) []jsonpatch.Operation {
	_, temporary := pod.Annotations[kubevirtv1.EphemeralProvisioningObject]
	if pod.Labels[kubevirtv1.AppLabel] != "virt-launcher" || temporary || natplan.HasGate(pod) || natplan.HasWatch(pod) {
		return nil
	}
	var ops []jsonpatch.Operation
	switch pod.Labels[v1alpha1.LabelStartGate] {
	case v1alpha1.StartGateContainer:
		ops = []jsonpatch.Operation{
			appendTo("/spec/initContainers", pod.Spec.InitContainers, gate(pod, o)),
			jsonpatch.NewOperation("add", "/spec/initContainers/-", watch(pod, o)),
		}
	case v1alpha1.StartGateWatch:
		ops = []jsonpatch.Operation{appendTo("/spec/initContainers", pod.Spec.InitContainers, watchOnly(pod, o))}
	default:
		return nil
	}
	// Last, so that all others get ready while the rules are being written. What
	// other webhooks add behind them waits too, which does no harm.
	return append(ops, appendTo("/spec/volumes", pod.Spec.Volumes, corev1.Volume{
		Name: noToken, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	}))
}

// appendTo adds an item to a list, which is not there when it is empty.
func appendTo[T any](path string, list []T, item T) jsonpatch.Operation {
	if len(list) == 0 {
		return jsonpatch.NewOperation("add", path, []T{item})
	}
	return jsonpatch.NewOperation("add", path+"/-", item)
}

// noToken is an empty volume in place of the token of the pod's service account,
// which the API server mounts into every container that has nothing there
// (Kubernetes, plugin/pkg/admission/serviceaccount).
const (
	noToken   = "meshvm-gate-no-token"
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// gate is an init container that ends when the gate is open. The kubelet starts
// no regular container, and so no guest, before. A native sidecar with a start-up probe would
// do the same but for one case: a kubelet that is started anew takes it for
// started although its probe never succeeded.
func gate(pod *corev1.Pod, o Options) corev1.Container {
	c := container(pod, o)
	c.Name, c.Args = natplan.GateContainer, []string{"gate", "-wait"}
	return c
}

// watch is a native sidecar (KEP-753), so that it ends with the guest's container,
// as no other container would. It ends by itself when the gate is shut again,
// and its start-up probe keeps it, and so the pod, from being ready until the gate
// is open. The probe is by exec, which no mesh redirects, rewrites or answers in
// its place.
func watch(pod *corev1.Pod, o Options) corev1.Container {
	c := container(pod, o)
	c.Name, c.Args = natplan.GateWatchContainer, []string{"gate"}
	c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	c.StartupProbe = probe(1, startupLimit)
	return c
}

// watchOnly is the same for a guest that nothing holds back. The kubelet starts
// no other container before a start-up probe succeeds; a readiness probe only
// keeps the pod from being ready, from its start on. Its period is another than
// that of the container's own looks, because two at once are in each other's way.
func watchOnly(pod *corev1.Pod, o Options) corev1.Container {
	c := watch(pod, o)
	c.StartupProbe, c.ReadinessProbe = nil, probe(3, 3)
	return c
}

// probe asks whether the gate is open. A busy node is no reason to say no.
func probe(period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{"/rule-writer", "gate", "-check"}},
		},
		PeriodSeconds:    period,
		TimeoutSeconds:   5,
		FailureThreshold: failures,
	}
}

// container is what both have in common: next to no resources, and no rights.
func container(pod *corev1.Pod, o Options) corev1.Container {
	return corev1.Container{
		Image:           o.Image,
		ImagePullPolicy: o.PullPolicy,
		Resources:       resources(pod),
		VolumeMounts:    []corev1.VolumeMount{{Name: noToken, MountPath: tokenPath, ReadOnly: true}},
		SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot:             new(true),
			RunAsUser:                ptr.To[int64](gateUser),
			RunAsGroup:               ptr.To[int64](gateUser),
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
}

// resources asks for next to nothing, and for what the pod's other containers
// are bound to: a guest with CPUs of its own needs a pod of the class Guaranteed
// (KubeVirt, pkg/virt-controller/watch/vmi/lifecycle.go), and a quota of limits
// wants one of every container.
func resources(pod *corev1.Pod) corev1.ResourceRequirements {
	cpu, memory := resource.MustParse("5m"), resource.MustParse("16Mi")
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
	}
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	every := func(has func(corev1.Container) bool) bool {
		return len(all) > 0 && !slices.ContainsFunc(all, func(c corev1.Container) bool { return !has(c) })
	}
	if every(func(c corev1.Container) bool { return !c.Resources.Limits.Cpu().IsZero() }) {
		// Starting the program within less takes seconds.
		r.Limits[corev1.ResourceCPU] = resource.MustParse("100m")
	}
	if every(guaranteed) {
		r.Requests = r.Limits.DeepCopy()
	}
	return r
}

// guaranteed says whether the container lets its pod be of the class Guaranteed:
// limits of both kinds, and requests that equal them or, left out, become them.
func guaranteed(c corev1.Container) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit := c.Resources.Limits[name]
		request, asked := c.Resources.Requests[name]
		if limit.IsZero() || asked && request.Cmp(limit) != 0 {
			return false
		}
	}
	return true
}
