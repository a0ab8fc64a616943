// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

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

// Differences returns the entries of a VirtualMachine that other clients changed since
// the spec in its record was applied, and that the operator keeps. It returns nil for
// an object without a record or without a spec.
func Differences(vm *unstructured.Unstructured) []Difference {
	r := recorded(vm)
	if _, known := vm.Object["spec"]; r == nil || !known {
		return nil
	}
	var out []Difference
	for _, l := range all {
		es, unique := l.entries(vm.Object)
		if !unique {
			continue
		}
		for _, e := range es {
			o, ours := r[l.String()][l.nameOf(e)]
			change := "was added"
			if ours {
				change = l.change(o, e)
			}
			if change != "" {
				out = append(out, Difference{Path: l.path, Name: l.nameOf(e), Change: change})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(r[l.String()])) {
			if o := r[l.String()][name]; o.Removable && o.Subject != absent && l.find(es, name) == nil {
				out = append(out, Difference{Path: l.path, Name: name, Change: "was removed"})
			}
		}
	}
	live, set, _ := unstructured.NestedFieldNoCopy(vm.Object, strategy...)
	if was := r[strategyName][""].Subject; was != "" && set && live != was {
		out = append(out, Difference{Path: strategy, Change: "was changed"})
	}
	return out
}

// change describes how another client changed the subject of an entry that the spec
// names. It returns an empty string for a subject that the operator does not keep.
func (l list) change(was owned, live entry) string {
	if l.subject == nil || was.Subject == "" || l.subject(live) == was.Subject {
		return ""
	}
	now := l.subject(live)
	switch {
	case namesClaim(was.Subject) && namesClaim(now) && l.String() == volumes.String():
		return fmt.Sprintf("uses %s instead of %s", now, was.Subject)
	case now == absent:
		return "has state " + absent + ", so KubeVirt removes it"
	default:
		return ""
	}
}

// Describe describes the difference for a user. The managed fields are those of the
// live VirtualMachine, nil when they are not known.
func (d Difference) Describe(managed []metav1.ManagedFieldsEntry) string {
	text := d.Field() + " " + d.Change
	if managers := Managers(managed, d.Path); len(managers) > 0 {
		text += " (field manager " + strings.Join(managers, ", ") + ")"
	}
	return text
}
