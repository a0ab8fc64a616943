// SPDX-License-Identifier: Apache-2.0

package startgate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestResources(t *testing.T) {
	container := func(cpuLimit string) corev1.Container {
		if cpuLimit == "" {
			return corev1.Container{}
		}
		return corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpuLimit)}}}
	}
	own := Resources{CPU: resource.MustParse("20m"), CPULimit: resource.MustParse("300m"), Memory: resource.MustParse("48Mi")}
	tests := map[string]struct {
		r                     Resources
		init, containers      []corev1.Container
		cpu, cpuLimit, memory string
	}{
		"no limits":                         {Resources{}, nil, []corev1.Container{container(""), container("")}, "10m", "0", "32Mi"},
		"one container without a limit":     {Resources{}, nil, []corev1.Container{container("1"), container("")}, "10m", "0", "32Mi"},
		"an init container without a limit": {Resources{}, []corev1.Container{container("")}, []corev1.Container{container("1")}, "10m", "0", "32Mi"},
		"all limited":                       {Resources{}, []corev1.Container{container("1")}, []corev1.Container{container("1")}, "100m", "100m", "32Mi"},
		"configured":                        {own, nil, []corev1.Container{container("")}, "20m", "0", "48Mi"},
		"configured, all limited":           {own, nil, []corev1.Container{container("1")}, "300m", "300m", "48Mi"},
		"one field configured":              {Resources{Memory: resource.MustParse("64Mi")}, nil, []corev1.Container{container("")}, "10m", "0", "64Mi"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{InitContainers: tc.init, Containers: tc.containers}}
			got := tc.r.of(pod)
			for what, pair := range map[string][2]string{
				"CPU request":    {tc.cpu, got.Requests.Cpu().String()},
				"CPU limit":      {tc.cpuLimit, got.Limits.Cpu().String()},
				"memory request": {tc.memory, got.Requests.Memory().String()},
				"memory limit":   {tc.memory, got.Limits.Memory().String()},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s is %s, want %s", what, pair[1], pair[0])
				}
			}
		})
	}
}
