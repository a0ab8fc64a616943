// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// target is the pod to trace.
type target struct {
	mvm    *v1alpha1.MeshedVirtualMachine
	config *v1alpha1.PodNATConfiguration
	pod    *corev1.Pod
}

// obstacle is the reason why a trace does not start.
type obstacle struct {
	// reason is the reason of the condition Accepted, or empty if the trace is
	// accepted and waits.
	reason  v1alpha1.ConditionReason
	message string
	// final is set if the obstacle does not disappear.
	final bool
}

// resolve finds the pod. It follows only objects that the operator wrote: the status of
// the MeshedVirtualMachine names the pod, and the MeshedVirtualMachine controls the
// PodNATConfiguration of this pod. The user names neither the pod nor the node.
func (r *Reconciler) resolve(ctx context.Context, t *v1alpha1.ConnectionTrace) (*target, *obstacle, error) {
	out := &target{mvm: &v1alpha1.MeshedVirtualMachine{}}
	key := client.ObjectKey{Namespace: t.Namespace, Name: t.Spec.MeshedVirtualMachine}
	if err := r.Client.Get(ctx, key, out.mvm); apierrors.IsNotFound(err) {
		return nil, &obstacle{reason: v1alpha1.ReasonMachineNotFound, message: "MeshedVirtualMachine " + key.Name + " does not exist in this namespace"}, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("read MeshedVirtualMachine %s: %w", key.Name, err)
	}
	role := roleOf(t)
	i := slices.IndexFunc(out.mvm.Status.Pods, func(p v1alpha1.PodStatus) bool { return p.Role == role })
	if i < 0 {
		return nil, &obstacle{reason: v1alpha1.ReasonPodNotFound, message: fmt.Sprintf("MeshedVirtualMachine %s has no pod with the role %s: see its status.pods", key.Name, role)}, nil
	}
	listed := out.mvm.Status.Pods[i]
	var configs v1alpha1.PodNATConfigurationList
	if err := r.Client.List(ctx, &configs, client.InNamespace(t.Namespace), client.MatchingFields{cacheindex.Pod: string(listed.UID)}); err != nil {
		return nil, nil, fmt.Errorf("list PodNATConfigurations: %w", err)
	}
	n := slices.IndexFunc(configs.Items, func(c v1alpha1.PodNATConfiguration) bool { return metav1.IsControlledBy(&c, out.mvm) })
	if n < 0 {
		return nil, &obstacle{message: "waiting because pod " + listed.Name + " has no PodNATConfiguration"}, nil
	}
	out.config = &configs.Items[n]
	pod, _, err := hiddenpod.Find(ctx, r.Client, r.Reader, client.ObjectKey{Namespace: t.Namespace, Name: listed.Name}, listed.UID)
	if err != nil {
		return nil, nil, err
	}
	out.pod = pod
	o := obstacleOf(out)
	if o == nil {
		o, err = r.nodeObstacle(ctx, pod.Spec.NodeName)
	}
	return out, o, err
}

func roleOf(t *v1alpha1.ConnectionTrace) v1alpha1.PodRole {
	if t.Spec.Role == "" {
		return v1alpha1.PodRoleActive
	}
	return t.Spec.Role
}

// obstacleOf returns why the pod cannot be traced now, or nil.
func obstacleOf(t *target) *obstacle {
	switch {
	case t.pod == nil || launcherpod.Ended(t.pod):
		return &obstacle{reason: v1alpha1.ReasonPodNotFound, message: "the pod does not run any more"}
	case !launcherpod.IsLauncher(t.pod):
		return &obstacle{reason: v1alpha1.ReasonNotALauncherPod, message: "the pod is not a virt-launcher pod of KubeVirt: no VirtualMachineInstance controls it, or it uses the host's network", final: true}
	case t.pod.Spec.NodeName == "" || !launcherpod.SandboxReady(t.pod):
		return &obstacle{message: "waiting because pod " + t.pod.Name + " has no network namespace yet"}
	default:
		return nil
	}
}

func (r *Reconciler) nodeObstacle(ctx context.Context, name string) (*obstacle, error) {
	var node corev1.Node
	if err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &node); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read node %s: %w", name, err)
	}
	if !rulejob.NodeReady(&node) {
		return &obstacle{message: "waiting because node " + name + " is not Ready"}, nil
	}
	return nil, nil
}
