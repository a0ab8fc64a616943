// SPDX-License-Identifier: Apache-2.0

package launcherpod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/launcherpod"
)

func TestIsStray(t *testing.T) {
	for name, tc := range map[string]struct {
		guest  string
		change func(*corev1.Pod)
		want   bool
	}{
		"the guest":                 {"web", func(*corev1.Pod) {}, false},
		"a clone":                   {"web-clone", func(*corev1.Pod) {}, true},
		"a guest without the label": {"other", func(p *corev1.Pod) { delete(p.Labels, v1alpha1.LabelMeshedVirtualMachine) }, false},
		// A pod is a stray only if a VirtualMachineInstance controls it.
		"a pod without an owner":   {"web-clone", func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		"an owner of another kind": {"web-clone", func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "ReplicaSet" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.LauncherPod(b.VMI(tc.guest).Obj(), "abcde").Obj()
			p.Labels[v1alpha1.LabelMeshedVirtualMachine] = "web"
			tc.change(p)
			if got := launcherpod.IsStray(p, "web"); got != tc.want {
				t.Errorf("IsStray is %t, want %t", got, tc.want)
			}
		})
	}
}
