// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxDescribed is the number of differences that a message names.
const maxDescribed = 6

// Difference is an entry of a VirtualMachine that differs from the spec and that the
// operator keeps.
type Difference struct {
	// Path is the location of the list in the VirtualMachine.
	Path []string
	// Name is the name of the entry, empty for a field without entries.
	Name string
	// Change describes the difference, for example "was added".
	Change string
}

// Field is the location of the entry.
func (d Difference) Field() string {
	field := strings.Join(d.Path, ".")
	if d.Name != "" {
		field += "[" + d.Name + "]"
	}
	return field
}

// replaced describes a volume that uses another claim.
func replaced(want, live entry) string {
	w, _ := claimOf(want)
	l, _ := claimOf(live)
	return fmt.Sprintf("uses %s instead of %s", l, w)
}

// Describe describes the differences for a user. The managed fields are those of the
// live VirtualMachine, nil when they are not known.
func Describe(differences []Difference, managed []metav1.ManagedFieldsEntry) string {
	var out []string
	for i, d := range differences {
		if i == maxDescribed {
			out = append(out, fmt.Sprintf("and %d more", len(differences)-maxDescribed))
			break
		}
		text := d.Field() + " " + d.Change
		if managers := Managers(managed, d.Path); len(managers) > 0 {
			text += " (field manager " + strings.Join(managers, ", ") + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// Managers returns the field managers, other than the operator, that own the
// field at the path, sorted. For an atomic list this is the client that wrote
// the list last.
func Managers(managed []metav1.ManagedFieldsEntry, path []string) []string {
	var out []string
	for _, m := range managed {
		if m.Manager == v1alpha1.FieldOwner || m.Subresource != "" || m.FieldsV1 == nil {
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
