// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

// TestSelectorOfClones checks which pods of the guest and of a clone the
// Service selects. A clone's pod has all labels of the template, and the labels
// that KubeVirt sets for its own name.
func TestSelectorOfClones(t *testing.T) {
	pod := func(name string, change func(map[string]string)) corev1.Pod {
		vmi := b.VMI(name).Obj()
		maps.Copy(vmi.Labels, b.VMI("web").Obj().Labels)
		p := b.LauncherPod(vmi, "abcde").Obj()
		change(p.Labels)
		return *p
	}
	keep := func(map[string]string) {}
	old := func(l map[string]string) { delete(l, kubevirtv1.VirtualMachineInstanceIDLabel) }
	oldest := func(l map[string]string) { old(l); delete(l, kubevirtv1.DeprecatedVirtualMachineNameLabel) }
	host := func(l map[string]string) { old(l); l[kubevirtv1.DeprecatedVirtualMachineNameLabel] = "host" }
	earlier := func(l map[string]string) { delete(l, v1alpha1.LabelService) }
	renamed := func(l map[string]string) { l[v1alpha1.LabelApp] = "shop" }
	tests := map[string]struct {
		pods  []corev1.Pod
		clone corev1.Pod
		// selected is set if the Service also selects the clone's pod.
		selected bool
	}{
		"app edited in the template":                  {[]corev1.Pod{pod("web", renamed)}, pod("web-clone", keep), false},
		"an earlier operator":                         {[]corev1.Pod{pod("web", earlier)}, pod("web-clone", earlier), false},
		"an earlier operator and an earlier KubeVirt": {[]corev1.Pod{pod("web", func(l map[string]string) { earlier(l); old(l) })}, pod("web-clone", keep), false},
		"an earlier operator, and a new pod":          {[]corev1.Pod{pod("web", earlier), pod("web", keep)}, pod("web-clone", keep), false},
		"label of the Service changed by a user":      {[]corev1.Pod{pod("web", func(l map[string]string) { l[v1alpha1.LabelService] = "db" })}, pod("web-clone", keep), false},
		"running":                                     {[]corev1.Pod{pod("web", keep)}, pod("web-clone", keep), false},
		"stopped":                                     {nil, pod("web-clone", keep), false},
		"pods of an earlier KubeVirt":                 {[]corev1.Pod{pod("web", old)}, pod("web-clone", old), false},
		"a migration after an upgrade":                {[]corev1.Pod{pod("web", old), pod("web", keep)}, pod("web-clone", keep), false},
		"an earlier KubeVirt and a host name":         {[]corev1.Pod{pod("web", host)}, pod("web-clone", host), true},
		"pods without any of KubeVirt's labels":       {[]corev1.Pod{pod("web", oldest)}, pod("web-clone", oldest), true},
		"a host name and the identifying label":       {[]corev1.Pod{pod("web", func(l map[string]string) { l[kubevirtv1.DeprecatedVirtualMachineNameLabel] = "host" })}, pod("web-clone", keep), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			objects, err := children.Desired(children.Input{MVM: b.MVM("web").Obj(), LauncherPods: tc.pods})
			if err != nil {
				t.Fatal(err)
			}
			service, ok := objects[0].(*corev1.Service)
			if !ok {
				t.Fatalf("the first object is a %T", objects[0])
			}
			selector := labels.SelectorFromSet(service.Spec.Selector)
			for _, p := range tc.pods {
				if !selector.Matches(labels.Set(p.Labels)) {
					t.Errorf("%s does not select the guest's pod with %v", selector, p.Labels)
				}
			}
			if got := selector.Matches(labels.Set(tc.clone.Labels)); got != tc.selected {
				t.Errorf("%s selects the clone's pod: %t, want %t", selector, got, tc.selected)
			}
		})
	}
}
