// SPDX-License-Identifier: Apache-2.0

package startgate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resources are the resources of each container of the gate. A zero value selects
// the default.
type Resources struct {
	// CPU is the CPU request in a pod that has containers without a CPU limit. The
	// container then has no CPU limit either.
	CPU resource.Quantity
	// CPULimit is the CPU request and limit in a pod whose other containers all have
	// a CPU limit.
	CPULimit resource.Quantity
	// Memory is the memory request and limit.
	Memory resource.Quantity
}

// DefaultResources returns the defaults. The program uses about 7 MiB. With a lower
// CPU limit than 100m the container takes seconds to start.
func DefaultResources() Resources {
	return Resources{CPU: resource.MustParse("10m"), CPULimit: resource.MustParse("100m"), Memory: resource.MustParse("32Mi")}
}

func (r Resources) withDefaults() Resources {
	defaults := DefaultResources()
	for _, f := range []struct{ field, fallback *resource.Quantity }{
		{&r.CPU, &defaults.CPU}, {&r.CPULimit, &defaults.CPULimit}, {&r.Memory, &defaults.Memory},
	} {
		if f.field.IsZero() {
			*f.field = *f.fallback
		}
	}
	return r
}

// of returns the resources of a container of the gate in a pod. Requests equal limits,
// so that the pod keeps the QoS class Guaranteed, which dedicated CPUs require
// (KubeVirt, pkg/virt-controller/watch/vmi/lifecycle.go), and so that every
// maxLimitRequestRatio of a LimitRange is met.
//
// The container has a CPU limit only if all other containers have one. A LimitRange
// with a ratio or a maximum of the CPU, and a ResourceQuota on CPU limits, require a
// limit of every container, so the others have one when the webhook is called. In all
// other pods a small CPU request without a limit reserves less.
func (r Resources) of(pod *corev1.Pod) corev1.ResourceRequirements {
	r = r.withDefaults()
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	limited := len(all) > 0 && !slices.ContainsFunc(all, func(c corev1.Container) bool { return c.Resources.Limits.Cpu().IsZero() })
	if limited {
		both := corev1.ResourceList{corev1.ResourceCPU: r.CPULimit, corev1.ResourceMemory: r.Memory}
		return corev1.ResourceRequirements{Requests: both, Limits: both.DeepCopy()}
	}
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: r.CPU, corev1.ResourceMemory: r.Memory},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: r.Memory},
	}
}
