// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/sharedlists"
)

// TestOthersChanges checks how changes by other clients are reported. They must
// not affect Ready, unless an operation of KubeVirt delays an edit of the spec.
func TestOthersChanges(t *testing.T) {
	tests := map[string]struct {
		change func(*scope)
		// present is the condition that reports the change, empty for none.
		present v1alpha1.ConditionType
		reason  v1alpha1.ConditionReason
		message string
		ready   v1alpha1.ConditionReason
	}{
		"nothing": {func(*scope) {}, "", "", "", v1alpha1.ReasonReady},
		"entries of other clients": {
			func(s *scope) {
				s.differences = []sharedlists.Difference{{Path: []string{"spec", "template", "spec", "volumes"}, Name: "x", Change: "was added"}}
			},
			v1alpha1.ConditionVirtualMachineAdjusted, v1alpha1.ReasonForeignEntries, "spec.template.spec.volumes[x] was added", v1alpha1.ReasonReady,
		},
		"a clone": {
			func(s *scope) {
				clone := &unstructured.Unstructured{}
				clone.SetName("web-clone")
				s.strays = append(s.strays, clone)
			},
			v1alpha1.ConditionStrayGuests, v1alpha1.ReasonCopiedLabels, `"web-clone"`, v1alpha1.ReasonReady,
		},
		"an operation that delays an edit": {
			func(s *scope) {
				s.lists.Delayed = "VirtualMachineRestore r"
				s.noteDelay()
			},
			v1alpha1.ConditionReconciling, v1alpha1.ReasonProgressing, "until VirtualMachineRestore r completes", v1alpha1.ReasonOutOfDate,
		},
	}
	reports := []v1alpha1.ConditionType{v1alpha1.ConditionVirtualMachineAdjusted, v1alpha1.ConditionStrayGuests, v1alpha1.ConditionReconciling}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			all := world(tc.change).conditions()
			if c, _ := conditions.Find(all, v1alpha1.ConditionReady); c.Reason != tc.ready {
				t.Errorf("Ready is %s/%s (%s), want %s", c.Status, c.Reason, c.Message, tc.ready)
			}
			for _, r := range reports {
				c, ok := conditions.Find(all, r)
				switch {
				case ok != (r == tc.present):
					t.Errorf("%s is present: %t", r, ok)
				case ok && (c.Status != metav1.ConditionTrue || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message)):
					t.Errorf("%s is %s/%s: %s", r, c.Status, c.Reason, c.Message)
				}
			}
		})
	}
}
