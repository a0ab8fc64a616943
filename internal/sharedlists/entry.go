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

// claim is the persistent storage that a volume uses.
type claim struct {
	// kind is DataVolume or PersistentVolumeClaim.
	kind string
	name string
	// hotpluggable is set when KubeVirt can remove the volume from a running guest.
	hotpluggable bool
}

func (c claim) String() string { return c.kind + " " + c.name }

// claimOf returns the claim of a volume, and whether it uses one. A volume of
// another kind, for example a container disk, holds no data that could be lost.
func claimOf(volume entry) (claim, bool) {
	for _, source := range []struct{ field, name, kind string }{
		{"dataVolume", "name", "DataVolume"},
		{"persistentVolumeClaim", "claimName", "PersistentVolumeClaim"},
	} {
		if s, ok := volume[source.field].(map[string]any); ok {
			name, _ := s[source.name].(string)
			hotpluggable, _ := s["hotpluggable"].(bool)
			return claim{kind: source.kind, name: name, hotpluggable: hotpluggable}, true
		}
	}
	return claim{}, false
}

// moved reports whether two versions of a volume use different claims.
func moved(want, live entry) bool {
	w, persistent := claimOf(want)
	l, still := claimOf(live)
	return persistent && still && (w.kind != l.kind || w.name != l.name)
}

// claims returns the names of the claims that volumes use.
func claims(volumes []entry) map[string]bool {
	out := map[string]bool{}
	for _, v := range volumes {
		if c, ok := claimOf(v); ok {
			out[c.name] = true
		}
	}
	return out
}
