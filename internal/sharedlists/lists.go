// SPDX-License-Identifier: Apache-2.0

// Package sharedlists merges the lists of a VirtualMachine to which KubeVirt and
// other clients also write: volumes, disks, interfaces, networks, data volume
// templates and other lists of named entries. It is pure.
//
// KubeVirt's CRD declares most of these lists as atomic, so server-side apply has
// one owner for a whole list. This package owns entries by name instead:
//
//   - An entry that the spec does not name belongs to another client and is kept.
//   - An entry that the spec names is owned. Other fields of the entry, for example
//     defaults, are kept.
//   - An entry that was owned and that the spec no longer names is removed.
//   - A volume that another client moved to another claim, as a restore and a storage
//     migration do, stays there until a user edits the claim in the spec. Edits of
//     other fields, also of the volume's name, do not move it back.
//   - A volume or an interface that another client unplugged from the guest stays
//     unplugged until a user edits its claim or its network in the spec.
//
// The record of the owned entries is an annotation of the VirtualMachine. It is
// written in the same request as the lists, so both are always consistent.
package sharedlists

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// entry is an element of a list.
type entry = map[string]any

// union is a group of fields of an entry of which at most one may be set.
type union struct {
	// path is the location of the fields in the entry.
	path []string
	// members are the fields. Empty means all fields except the name.
	members []string
}

// list is a list of named entries.
type list struct {
	// path is the location of the list in the VirtualMachine.
	path []string
	// key is the location of the name in an entry.
	key []string
	// unions are the unions of an entry.
	unions []union
	// subject returns the part of an entry that other clients may change until a user
	// edits this part of the spec. It is never empty. Optional.
	subject func(entry) string
	// removable reports whether KubeVirt can remove an entry of an object from a
	// running guest. Optional.
	removable func(o map[string]any, e entry) bool
}

func (l list) String() string { return strings.Join(l.path, ".") }

// nameOf returns the name of an entry, or an empty string.
func (l list) nameOf(e entry) string {
	name, _, _ := unstructured.NestedString(e, l.key...)
	return name
}

func templateList(field string, unions ...union) list {
	return list{path: []string{"spec", "template", "spec", field}, key: []string{"name"}, unions: unions}
}

func deviceList(field string, unions ...union) list {
	return list{path: []string{"spec", "template", "spec", "domain", "devices", field}, key: []string{"name"}, unions: unions}
}

func (l list) with(subject func(entry) string, removable func(map[string]any, entry) bool) list {
	l.subject, l.removable = subject, removable
	return l
}

// The lists whose merge depends on each other.
var (
	volumes  = templateList("volumes", union{}).with(sourceOf, func(_ map[string]any, e entry) bool { return hotpluggable(e) })
	networks = templateList("networks", union{}).with(networkOf, nil)
	disks    = deviceList("disks", union{members: []string{"disk", "cdrom", "lun"}})
	// The members are those of InterfaceBindingMethod, and binding.
	interfaces = deviceList("interfaces", union{members: []string{"bridge", "slirp", "masquerade", "sriov", "macvtap", "passt", "passtBinding", "binding"}}).
			with(stateOf, canUnplug)
	templates = list{
		path: []string{"spec", "dataVolumeTemplates"}, key: []string{"metadata", "name"},
		unions: []union{
			{path: []string{"spec"}, members: []string{"source", "sourceRef"}},
			{path: []string{"spec"}, members: []string{"pvc", "storage"}},
			{path: []string{"spec", "source"}},
		},
	}
)

// independent are the other lists of named entries. accessCredentials, inputs and
// panicDevices are not in it: their entries have no name that identifies them, and
// no part of KubeVirt adds entries.
var independent = []list{
	templateList("utilityVolumes"),
	templateList("resourceClaims"),
	deviceList("filesystems"),
	deviceList("hostDevices"),
	deviceList("gpus"),
}

// all contains all lists.
var all = append([]list{volumes, disks, templates, interfaces, networks}, independent...)

// strategy is a field that a storage migration changes together with the volumes.
var strategy = []string{"spec", "updateVolumesStrategy"}

// strategyName names the field in the record.
const strategyName = "spec.updateVolumesStrategy"

// entries returns the entries of a list, and whether each has a unique name. A list
// without unique names is invalid and is not merged.
func (l list) entries(o map[string]any) (es []entry, unique bool) {
	raw, _, _ := unstructured.NestedFieldNoCopy(o, l.path...)
	items, _ := raw.([]any)
	seen := map[string]bool{}
	for _, item := range items {
		e, _ := item.(entry)
		name := l.nameOf(e)
		if name == "" || seen[name] {
			return nil, false
		}
		seen[name] = true
		es = append(es, e)
	}
	return es, true
}

// present reports whether an object has the list.
func (l list) present(o map[string]any) bool {
	raw, _, _ := unstructured.NestedFieldNoCopy(o, l.path...)
	return raw != nil
}

// find returns the entry with a name, nil for none.
func (l list) find(es []entry, name string) entry {
	for _, e := range es {
		if l.nameOf(e) == name {
			return e
		}
	}
	return nil
}

// set stores the entries in an object. An empty list is stored only when keep is
// set: server-side apply with an empty list removes the entries of other field
// managers, and without the list it does not.
func (l list) set(o map[string]any, es []entry, keep bool) {
	if len(es) == 0 && !keep {
		unstructured.RemoveNestedField(o, l.path...)
		return
	}
	items := make([]any, 0, len(es))
	for _, e := range es {
		items = append(items, e)
	}
	// The path consists of objects in every VirtualMachine.
	_ = unstructured.SetNestedField(o, items, l.path...)
}
