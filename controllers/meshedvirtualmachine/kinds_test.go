// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// TestEveryKindHasACondition fails if the table of child kinds and the
// conditions differ. If an object could not be applied, the condition of its
// kind and Ready must be False. Otherwise, a kind without a computed condition
// would leave Ready at True.
func TestEveryKindHasACondition(t *testing.T) {
	for _, kind := range children.Kinds() {
		t.Run(kind.Kind, func(t *testing.T) {
			s := world()
			k := key(kind.GroupVersionKind)
			if kind.GroupVersionKind == children.PodNATConfigurationKind {
				k = natKey(s.mvm, &s.pods[0])
			}
			s.failures[k] = errors.New("the API server is busy")
			s.describePods()
			all := s.conditions()
			for _, want := range []v1alpha1.ConditionType{kind.Condition, v1alpha1.ConditionReady} {
				if c, ok := conditions.Find(all, want); !ok || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonApplyFailed {
					t.Errorf("%s could not be applied, but %q is %+v, want False, %s", kind.Kind, want, c, v1alpha1.ReasonApplyFailed)
				}
			}
		})
	}
}
