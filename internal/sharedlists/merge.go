// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Result is a merged VirtualMachine.
type Result struct {
	// Object contains the desired fields, the merged lists and the record.
	Object *unstructured.Unstructured
	// Delayed is the operation during which the lists are not changed although
	// they differ from the merged lists, empty for none.
	Delayed string
}

// Merge merges the lists of the desired VirtualMachine with those of the live one,
// nil for none. While busy names an operation (Busy), the result has the live lists.
// Server-side apply removes a list that its owner no longer sends, so the result
// always contains every list of the live object.
func Merge(want, live *unstructured.Unstructured, busy string) Result {
	m := merger{out: want.DeepCopy(), wanted: recordOf(want.Object)}
	if live == nil {
		m.wanted.store(m.out)
		return Result{Object: m.out}
	}
	m.want, m.live, m.was = want.Object, live.Object, recorded(live)
	m.appliedLast = func(path []string) bool { return appliedLast(live, path) }
	m.mergeStorage()
	m.mergeNetworks()
	for _, l := range independent {
		m.merge(l, rules{})
	}
	m.wanted.store(m.out)
	r := Result{Object: m.out}
	if busy != "" && m.keepLive(live) {
		r.Delayed = busy
	}
	return r
}

type merger struct {
	// out is the result.
	out *unstructured.Unstructured
	// want and live are the desired and the live content.
	want, live map[string]any
	// was and wanted are the records of the live and of the desired content.
	was, wanted record
	// appliedLast reports whether the operator wrote the field at a path last.
	appliedLast func(path []string) bool
}

// rules determine how the entries of one list are merged. All functions are
// optional.
type rules struct {
	// former returns the recorded name of a wanted entry that a user renamed, or the
	// name of the entry.
	former func(want entry) string
	// omit reports whether a wanted entry that the live list does not have is not
	// added.
	omit func(name string, want entry, edited bool) bool
	// keep keeps the subject of the live version of a wanted entry, which no user
	// edited, in the merged entry.
	keep func(merged, live entry)
	// unused reports whether an entry of another client is removed.
	unused func(name string) bool
}

// merge merges one list and returns its entries.
func (m *merger) merge(l list, r rules) []entry {
	wanted, valid := l.entries(m.want)
	live, unique := l.entries(m.live)
	if !valid || !unique {
		return wanted // KubeVirt rejects a list without unique names.
	}
	var own []entry
	for _, w := range wanted {
		if e := m.mergeWanted(l, r, w, live); e != nil {
			own = append(own, e)
		}
	}
	out := m.order(l, r, live, wanted, own)
	l.set(m.out.Object, out, l.present(m.live))
	return out
}

// mergeWanted returns the merged entry for one entry of the spec, or nil.
func (m *merger) mergeWanted(l list, r rules, want entry, all []entry) entry {
	name := l.nameOf(want)
	former, edited := name, m.edited(l.String(), name, l.path)
	if r.former != nil {
		former = r.former(want)
		edited = edited && former == name // The subjects of a renamed entry are equal.
	}
	live := l.find(all, former)
	switch {
	case live == nil && r.omit != nil && r.omit(name, want, edited):
		return nil
	case live == nil:
		return runtime.DeepCopyJSON(want)
	}
	out := mergeEntry(l, live, want, m.was[l.String()][former].Fields)
	if !edited && r.keep != nil {
		r.keep(out, live)
	}
	return out
}

// edited reports whether a user edited the subject of an entry, or of a field with
// the path, since it was applied. If the records do not show this, a difference is an
// edit only if no other client can have made it.
func (m *merger) edited(list, name string, path []string) bool {
	is, known := edited(m.was, m.wanted, list, name)
	if !known {
		return m.appliedLast(path)
	}
	return is
}

// order arranges the owned entries in the order of the spec at the positions of
// owned entries in the live list, and keeps the positions of the other entries.
// New entries are appended: the order of devices is visible in the guest.
func (m *merger) order(l list, r rules, live, wanted, own []entry) []entry {
	var out []entry
	next := own
	for _, e := range live {
		name := l.nameOf(e)
		switch {
		case l.find(own, name) != nil:
			out = append(out, next[0])
			next = next[1:]
		case l.find(wanted, name) != nil: // Omitted.
		case m.was[l.String()][name].Hash != "": // Owned, and no longer wanted.
		case m.was == nil && m.appliedLast(l.path): // Of an earlier spec.
		case r.unused != nil && r.unused(name):
		default:
			out = append(out, runtime.DeepCopyJSON(e))
		}
	}
	return append(out, next...)
}

// mergeStorage merges volumes, disks and data volume templates. KubeVirt requires a
// volume for each disk and for each template.
func (m *merger) mergeStorage() {
	removed := map[string]bool{}
	merged := m.merge(volumes, rules{
		former: m.formerVolume,
		omit: func(name string, want entry, edited bool) bool {
			removed[name] = !edited && m.removable(volumes, m.formerVolume(want), name)
			return removed[name]
		},
		keep: keepClaim,
	})
	m.merge(disks, rules{omit: func(name string, _ entry, _ bool) bool { return removed[name] }})
	for _, v := range merged {
		removed[volumes.nameOf(v)] = hotpluggable(v)
	}
	// Another client can have made a volume hotpluggable.
	for name, is := range removed {
		if is {
			m.wanted.setRemovable(volumes, name)
		}
	}

	wanted, _ := volumes.entries(m.want)
	live, _ := volumes.entries(m.live)
	declared, before, after := claims(wanted), claims(live), claims(merged)
	// A template whose volume moved to another claim is not used. KubeVirt would
	// import its disk again.
	m.dropUnused(func(name string) bool { return declared[name] && !after[name] })
	m.merge(templates, rules{
		unused: func(name string) bool { return before[name] && !after[name] },
	})
	m.mergeStrategy()
}

// formerVolume returns the recorded name of a volume of the spec. A user can rename a
// volume without an edit of its claim, and use its name for another volume.
func (m *merger) formerVolume(want entry) string {
	name := volumes.nameOf(want)
	was, wanted := m.was[volumes.String()], m.wanted[volumes.String()]
	subject := wanted[name].Subject
	if was[name].Subject == subject || !namesClaim(subject) {
		return name
	}
	for _, former := range slices.Sorted(maps.Keys(was)) {
		if was[former].Subject == subject && wanted[former].Subject != subject {
			return former
		}
	}
	return name
}

// removable reports whether the absence of a recorded entry is intended because
// KubeVirt can remove it from a running guest.
func (m *merger) removable(l list, former, name string) bool {
	was, recorded := m.was[l.String()][former]
	return recorded && (was.Removable || m.wanted[l.String()][name].Removable)
}

// dropUnused removes wanted templates that no volume uses.
func (m *merger) dropUnused(unused func(name string) bool) {
	es, valid := templates.entries(m.want)
	if !valid {
		return
	}
	var kept []entry
	for _, e := range es {
		if !unused(templates.nameOf(e)) {
			kept = append(kept, e)
		}
	}
	if len(kept) < len(es) {
		m.want = runtime.DeepCopyJSON(m.want)
		templates.set(m.want, kept, false)
		templates.set(m.out.Object, kept, false)
	}
}

// mergeStrategy keeps the strategy of another client that migrates volumes.
func (m *merger) mergeStrategy() {
	want, found, _ := unstructured.NestedFieldNoCopy(m.want, strategy...)
	live, set, _ := unstructured.NestedFieldNoCopy(m.live, strategy...)
	if found && set && want != live && !m.edited(strategyName, "", strategy) {
		_ = unstructured.SetNestedField(m.out.Object, live, strategy...)
	}
}

// mergeNetworks merges interfaces and networks. KubeVirt removes an interface with
// state absent, and its network, from the VirtualMachine.
func (m *merger) mergeNetworks() {
	detached := map[string]bool{}
	m.merge(interfaces, rules{
		omit: func(name string, want entry, edited bool) bool {
			moved := m.edited(networks.String(), name, networks.path)
			detached[name] = stateOf(want) == absent || !edited && !moved && m.removable(interfaces, name, name)
			return detached[name]
		},
		keep: keepAbsent,
	})
	m.merge(networks, rules{omit: func(name string, _ entry, _ bool) bool { return detached[name] }})
}

// keepLive replaces the merged lists with the live ones and reports whether they
// differ. The record stays the record of the live lists.
func (m *merger) keepLive(live *unstructured.Unstructured) (differs bool) {
	paths := [][]string{strategy}
	for _, l := range all {
		paths = append(paths, l.path)
	}
	for _, path := range paths {
		merged, has, _ := unstructured.NestedFieldNoCopy(m.out.Object, path...)
		value, found, _ := unstructured.NestedFieldCopy(m.live, path...)
		differs = differs || has && !equality.Semantic.DeepEqual(merged, value)
		if found {
			_ = unstructured.SetNestedField(m.out.Object, value, path...)
		} else if has {
			unstructured.RemoveNestedField(m.out.Object, path...)
		}
	}
	before := live.GetAnnotations()[v1alpha1.AnnotationOwnedEntries]
	setAnnotation(m.out, before)
	return differs
}
