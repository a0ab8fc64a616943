// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// TestKeepExpanded checks when an instancetype that the VirtualMachine does not have is
// applied.
func TestKeepExpanded(t *testing.T) {
	vm := func(record string, spec, domain map[string]any) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"domain": domain}}}}}
		for k, v := range spec {
			_ = unstructured.SetNestedField(u.Object, v, "spec", k)
		}
		u.SetAnnotations(map[string]string{v1alpha1.AnnotationMatchers: record})
		return u
	}
	small := map[string]any{"instancetype": map[string]any{"name": "small"}}
	cpu := map[string]any{"cpu": map[string]any{"sockets": int64(1)}}
	for name, tc := range map[string]struct {
		live *unstructured.Unstructured
		kept bool
	}{
		"no VirtualMachine":          {nil, true},
		"reference":                  {vm("small", small, cpu), true},
		"expanded":                   {vm("small", nil, cpu), false},
		"expanded from another":      {vm("large", nil, cpu), true},
		"removed by another client":  {vm("small", nil, nil), true},
		"without a record, with CPU": {vm("", nil, cpu), true},
	} {
		t.Run(name, func(t *testing.T) {
			want := vm("small", small, nil)
			children.KeepExpanded(want, tc.live)
			if _, kept, _ := unstructured.NestedMap(want.Object, "spec", "instancetype"); kept != tc.kept {
				t.Errorf("the instancetype is applied: %t, want %t", kept, tc.kept)
			}
		})
	}
}
