// SPDX-License-Identifier: Apache-2.0

package startgate

import (
	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// Options are the installation's settings of the gate.
type Options struct {
	// Image is the rule-writer's image, which contains the program of the gate.
	// Nodes pull it for pods in users' namespaces, with the pull secrets of these
	// pods.
	Image string
	// PullPolicy is the pull policy of the image. Empty selects the API server's
	// default.
	PullPolicy corev1.PullPolicy
	// Resources are the resources of each container of the gate.
	Resources Resources
}

// gateUser is an unprivileged user ID. Distroless images name it "nonroot".
const gateUser = 65532

// startupLimit is the number of seconds for which the start-up probe may fail
// before the kubelet restarts the container: one day. A restart has no effect on
// the pod.
const startupLimit = 24 * 60 * 60

// Patch returns the JSON patch (RFC 6902) that adds the gate to a pod that
// requests it, and sets the service account that it requests. It returns nil for a pod that is not a virt-launcher pod, that
// already has the gate, or that KubeVirt created only to bind a volume. Apart from
// the service account, the patch only adds values, so fields that this program does not know are
// preserved.
func Patch(pod *corev1.Pod, o Options) []jsonpatch.Operation {
	if !Asks(pod) {
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
	// The gate is the last init container, so the other init containers run while
	// the rules are being written. Init containers that other webhooks append
	// later also wait.
	ops = append(ops, appendTo("/spec/volumes", pod.Spec.Volumes, corev1.Volume{
		Name: noToken, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	}))
	return append(ops, Account(pod)...)
}

// Asks reports whether the pod is a virt-launcher pod that runs a guest, asks for a
// gate, and does not have one.
func Asks(pod *corev1.Pod) bool {
	asks := pod.Labels[v1alpha1.LabelStartGate]
	return launcherpod.HasLabel(pod) && !launcherpod.IsTemporary(pod) && !HasGate(pod) && !HasWatch(pod) &&
		(asks == v1alpha1.StartGateContainer || asks == v1alpha1.StartGateWatch)
}

// appendTo adds an item to a list, or creates the list when it is empty.
func appendTo[T any](path string, list []T, item T) jsonpatch.Operation {
	if len(list) == 0 {
		return jsonpatch.NewOperation("add", path, []T{item})
	}
	return jsonpatch.NewOperation("add", path+"/-", item)
}

// noToken is an empty volume at the mount path of the service account token. The
// API server mounts the token into every container that has no other volume at
// that path (Kubernetes, plugin/pkg/admission/serviceaccount).
const (
	noToken   = "meshvm-gate-no-token"
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// gate returns the init container that exits when the gate is open. Before
// that, the kubelet starts no regular container and therefore no guest. A
// native sidecar with a start-up probe is not sufficient: a restarted kubelet
// treats it as started although its probe never succeeded.
func gate(pod *corev1.Pod, o Options) corev1.Container {
	c := container(pod, o)
	c.Name, c.Args = Container, []string{"gate", "-wait"}
	return c
}

// watch returns the native sidecar (KEP-753), which terminates together with
// the guest's container. It exits if the gate is shut again. Its start-up probe
// keeps the container, and therefore the pod, not ready until the gate is open.
// The probe runs a command, which the mesh cannot redirect, rewrite or answer.
func watch(pod *corev1.Pod, o Options) corev1.Container {
	c := container(pod, o)
	c.Name, c.Args = WatchContainer, []string{"gate"}
	c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	c.StartupProbe = probe(1, startupLimit)
	return c
}

// watchOnly returns the watch container for a guest whose start is not delayed.
// The kubelet starts no other container before a start-up probe succeeds. A
// readiness probe only makes the pod not ready. Its period differs from the
// period of the container's own checks, because two concurrent checks disturb
// each other.
func watchOnly(pod *corev1.Pod, o Options) corev1.Container {
	c := watch(pod, o)
	c.StartupProbe, c.ReadinessProbe = nil, probe(3, 3)
	return c
}

// probe checks whether the gate is open. The timeout allows for a busy node.
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

// container returns the common part of both containers: small resources, no
// privileges.
func container(pod *corev1.Pod, o Options) corev1.Container {
	return corev1.Container{
		Image:           o.Image,
		ImagePullPolicy: o.PullPolicy,
		Resources:       o.Resources.of(pod),
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
