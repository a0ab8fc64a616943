// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/patches"
)

// applyPatched applies a desired object with the patches of the spec. If a patch is refused,
// the live object stays as it is, and is returned with the refusal.
func (r *Reconciler) applyPatched(ctx context.Context, s *scope, key apply.Key, o children.Object) (*unstructured.Unstructured, error) {
	list := s.mvm.Spec.Patches
	if children.IsOfService(key.Kind) {
		list = s.lead().Spec.Patches
	}
	patched, err := patches.Apply(list, o, r.ClusterDomain)
	if err != nil {
		live, checked := r.Applier.Check(ctx, o, s.mvm)
		if errors.Is(checked, apply.ErrConflict) {
			live = nil
		}
		return live, err
	}
	return r.applierFor(s, key)(ctx, patched, s.mvm)
}

// patchRefused returns the refusal of a patch in an error.
func patchRefused(err error) (*patches.Refused, bool) {
	var refused *patches.Refused
	return refused, errors.As(err, &refused)
}

// patched returns the condition about the patches of the spec, and whether it has any.
func (s *scope) patched() (conditions.Condition, bool) {
	const t = v1alpha1.ConditionPatched
	if !s.conflictsKnown() || len(s.mvm.Spec.Patches) == 0 {
		return conditions.Condition{}, false
	}
	for _, k := range children.Kinds() {
		if refused, ok := patchRefused(s.failureOf(k.GroupKind())); ok {
			return conditions.False(t, v1alpha1.ReasonPatchRefused, refused.Error()+"; the "+k.Kind+" remains as it was applied last"), true
		}
	}
	return conditions.True(t, v1alpha1.ReasonApplied, fmt.Sprintf("%d patches are part of the objects", len(s.mvm.Spec.Patches))), true
}
