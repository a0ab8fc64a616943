// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// mergeEntry returns the live entry with the fields of the wanted entry. Fields
// that were owned and are no longer wanted are removed, including all fields
// below them.
func mergeEntry(l list, live, want entry, was fields) entry {
	out := runtime.DeepCopyJSON(live)
	removeGone(out, want, was)
	for _, u := range l.unions {
		u.clear(out, want)
	}
	overlay(out, want)
	return out
}

// removeGone removes the fields of was that want does not have.
func removeGone(out, want entry, was fields) {
	for name, below := range was {
		w, wanted := want[name]
		if !wanted {
			delete(out, name)
			continue
		}
		o, _ := out[name].(map[string]any)
		if child, ok := w.(map[string]any); ok && o != nil {
			removeGone(o, child, below)
		}
	}
}

// overlay sets the fields of want in out.
func overlay(out, want entry) {
	for name, w := range want {
		o, _ := out[name].(map[string]any)
		if child, ok := w.(map[string]any); ok && o != nil {
			overlay(o, child)
			continue
		}
		out[name] = runtime.DeepCopyJSONValue(w)
	}
}

// clear removes the members of the union that want does not have, if it has any.
func (u union) clear(out, want entry) {
	w, o := at(want, u.path), at(out, u.path)
	chosen := map[string]bool{}
	for name := range w {
		if u.has(name) {
			chosen[name] = true
		}
	}
	if len(chosen) == 0 {
		return
	}
	maps.DeleteFunc(o, func(name string, _ any) bool { return u.has(name) && !chosen[name] })
}

func (u union) has(member string) bool {
	if len(u.members) == 0 {
		return member != "name"
	}
	return slices.Contains(u.members, member)
}

func at(e entry, path []string) map[string]any {
	raw, _, _ := unstructured.NestedFieldNoCopy(e, path...)
	m, _ := raw.(map[string]any)
	return m
}
