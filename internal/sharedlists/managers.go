// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"cmp"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Managers returns the field managers, other than the operator, that own the
// field at the path, sorted. For an atomic list this is the client that wrote
// the list last.
func Managers(managed []metav1.ManagedFieldsEntry, path []string) []string {
	return slices.DeleteFunc(owners(managed, path), func(name string) bool { return name == v1alpha1.FieldOwner })
}

// appliedLast reports whether the value of a field is the one that the operator applied
// last, without a change by another client. A client that changes an atomic list becomes
// its only owner. An object without the digest of the operator, or whose managed fields
// are not known, does not show this.
func appliedLast(live *unstructured.Unstructured, path []string) bool {
	return live.GetAnnotations()[v1alpha1.AnnotationAppliedDigest] != "" &&
		slices.Equal(owners(live.GetManagedFields(), path), []string{v1alpha1.FieldOwner})
}

// owners returns the field managers that own the field at the path, sorted.
func owners(managed []metav1.ManagedFieldsEntry, path []string) []string {
	var out []string
	for _, m := range managed {
		if m.Subresource != "" || m.FieldsV1 == nil {
			continue
		}
		var tree map[string]any
		if json.Unmarshal(m.FieldsV1.GetRawBytes(), &tree) == nil && owns(tree, path) {
			out = append(out, cmp.Or(m.Manager, "unknown"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// owns reports whether a tree in the format FieldsV1 contains the path.
func owns(tree map[string]any, path []string) bool {
	for _, field := range path {
		child, ok := tree["f:"+field].(map[string]any)
		if !ok {
			return false
		}
		tree = child
	}
	return true
}
