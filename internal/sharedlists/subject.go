// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// absent is the state of an interface that KubeVirt removes from the guest and then
// from the VirtualMachine. A guest does not return from it to another state (KubeVirt,
// pkg/network/controllers/vm.go).
const absent = "absent"

// claim is the persistent storage that a volume uses.
type claim struct {
	// kind is DataVolume or PersistentVolumeClaim.
	kind string
	name string
	// field is the source of the volume, and key the field of the source that contains
	// the name.
	field, key string
}

// String is also the subject of the volume.
func (c claim) String() string { return c.kind + " " + c.name }

// claimOf returns the claim of a volume, and whether it uses one. A volume of
// another kind, for example a container disk, holds no data that could be lost.
func claimOf(volume entry) (claim, bool) {
	for _, c := range []claim{
		{kind: "DataVolume", field: "dataVolume", key: "name"},
		{kind: "PersistentVolumeClaim", field: "persistentVolumeClaim", key: "claimName"},
	} {
		if source, ok := volume[c.field].(map[string]any); ok {
			c.name, _ = source[c.key].(string)
			return c, true
		}
	}
	return claim{}, false
}

// sourceOf is the subject of a volume: its claim, or the kind of another source.
func sourceOf(volume entry) string {
	if c, ok := claimOf(volume); ok {
		return c.String()
	}
	fields := slices.Sorted(maps.Keys(volume))
	return cmp.Or(strings.Join(slices.DeleteFunc(fields, func(f string) bool { return f == "name" }), ","), "none")
}

// namesClaim reports whether the subject of a volume is a claim. The kinds of other
// sources have no space.
func namesClaim(subject string) bool { return strings.Contains(subject, " ") }

// moved reports whether two versions of a volume use different claims.
func moved(want, live entry) bool {
	w, persistent := claimOf(want)
	l, still := claimOf(live)
	return persistent && still && w.String() != l.String()
}

// keepClaim sets the claim of the live volume in a merged volume that uses another.
func keepClaim(merged, live entry) {
	if !moved(merged, live) {
		return
	}
	m, _ := claimOf(merged)
	l, _ := claimOf(live)
	if m.field != l.field {
		delete(merged, m.field)
		merged[l.field] = runtime.DeepCopyJSONValue(live[l.field])
		return
	}
	source, _ := merged[m.field].(map[string]any)
	source[m.key] = l.name
}

// hotpluggable reports whether KubeVirt can remove the volume from a running guest. It
// rejects the request for any other volume (KubeVirt, pkg/virt-api/rest/volumes.go).
func hotpluggable(volume entry) bool {
	c, _ := claimOf(volume)
	source, _ := volume[c.field].(map[string]any)
	is, _ := source["hotpluggable"].(bool)
	return is
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

// networkOf is the subject of a network: its source.
func networkOf(network entry) string {
	source := maps.Clone(network)
	delete(source, "name")
	raw, _ := json.Marshal(source) // Decoded JSON can be encoded.
	return string(raw)
}

// stateOf is the subject of an interface. An empty state functions as up (KubeVirt,
// core/v1, Interface).
func stateOf(iface entry) string {
	state, _ := iface["state"].(string)
	return cmp.Or(state, "up")
}

// canUnplug reports whether KubeVirt can remove an interface of an object from a
// running guest: it allows this for the binding bridge, and not on the default network
// (KubeVirt, pkg/network/admitter/admit.go).
func canUnplug(o map[string]any, iface entry) bool {
	name, _ := iface["name"].(string)
	es, _ := networks.entries(o)
	network := networks.find(es, name)
	multus, secondary := network["multus"].(map[string]any)
	_, bridge := iface["bridge"]
	return bridge && secondary && multus["default"] != true
}

// keepAbsent keeps the state of a live interface that another client unplugs.
func keepAbsent(merged, live entry) {
	if stateOf(live) == absent {
		merged["state"] = absent
	}
}
