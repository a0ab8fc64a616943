// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
)

// vm returns a VirtualMachine with lists, from YAML with a field for each list.
func vm(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	var in map[string]any
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		u := &unstructured.Unstructured{}
		err = json.Unmarshal(raw, &in)
		// The decoder of Unstructured decodes numbers as the operator's client does.
		raw, _ = json.Marshal(map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "x": in})
		if err == nil {
			err = u.UnmarshalJSON(raw)
		}
		in, _, _ = unstructured.NestedMap(u.Object, "x")
	}
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}}
	for _, l := range all {
		if v, ok := in[l.path[len(l.path)-1]]; ok {
			if v == nil {
				v = []any{}
			}
			if err := unstructured.SetNestedField(u.Object, v, l.path...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v, ok := in["updateVolumesStrategy"]; ok {
		_ = unstructured.SetNestedField(u.Object, v, strategy...)
	}
	return u
}

// lists returns the lists of a VirtualMachine.
func lists(u *unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	for _, l := range all {
		if v, found, _ := unstructured.NestedFieldNoCopy(u.Object, l.path...); found {
			out[l.String()] = v
		}
	}
	if v, found, _ := unstructured.NestedFieldNoCopy(u.Object, strategy...); found {
		out[strategyName] = v
	}
	return out
}

const (
	root     = `{name: root, dataVolume: {name: web-root}}`
	rootDisk = `{name: root, disk: {bus: virtio}}`
	template = `{metadata: {name: web-root}, spec: {source: {http: {url: "http://a"}}, storage: {}}}`
	spec     = `{volumes: [` + root + `], disks: [` + rootDisk + `], dataVolumeTemplates: [` + template + `]}`

	restored         = `{name: root, dataVolume: {name: restore-1-root}}`
	restoredTemplate = `{metadata: {name: restore-1-root}, spec: {source: {http: {url: "http://a"}}, storage: {}}}`
	afterRestore     = `{volumes: [` + restored + `], disks: [` + rootDisk + `], dataVolumeTemplates: [` + restoredTemplate + `]}`
)

func TestMerge(t *testing.T) {
	tests := map[string]struct {
		// was is the spec that was applied before, empty for no record.
		was string
		// spec, live and want are the desired, the live and the merged lists.
		spec, live, want string
		// differs are the differences.
		differs []string
	}{
		"no change": {was: spec, spec: spec, live: spec, want: spec},
		"defaults of the server are kept": {
			was: spec, spec: spec,
			live: `{volumes: [` + root + `], disks: [{name: root, disk: {bus: virtio, readonly: false}, cache: none}], dataVolumeTemplates: [` + template + `]}`,
			want: `{volumes: [` + root + `], disks: [{name: root, disk: {bus: virtio, readonly: false}, cache: none}], dataVolumeTemplates: [` + template + `]}`,
		},
		"a hotplugged volume": {
			was: spec, spec: spec,
			live:    `{volumes: [` + root + `, {name: x, persistentVolumeClaim: {claimName: x, hotpluggable: true}}], disks: [` + rootDisk + `, {name: x, disk: {bus: scsi}}], dataVolumeTemplates: [` + template + `]}`,
			want:    `{volumes: [` + root + `, {name: x, persistentVolumeClaim: {claimName: x, hotpluggable: true}}], disks: [` + rootDisk + `, {name: x, disk: {bus: scsi}}], dataVolumeTemplates: [` + template + `]}`,
			differs: []string{"spec.template.spec.volumes[x] was added", "spec.template.spec.domain.devices.disks[x] was added"},
		},
		"a hotplugged volume that is now in the spec": {
			was: `{volumes: [{name: a, emptyDisk: {}}]}`, spec: `{volumes: [{name: a, emptyDisk: {}}, {name: x, persistentVolumeClaim: {claimName: x}}]}`,
			live: `{volumes: [{name: a, emptyDisk: {}}, {name: x, persistentVolumeClaim: {claimName: x, hotpluggable: true}}]}`,
			want: `{volumes: [{name: a, emptyDisk: {}}, {name: x, persistentVolumeClaim: {claimName: x, hotpluggable: true}}]}`,
		},
		"the spec removes its entry and no other entry": {
			was: `{volumes: [{name: a, emptyDisk: {}}, {name: b, emptyDisk: {}}]}`, spec: `{volumes: [{name: b, emptyDisk: {}}]}`,
			live:    `{volumes: [{name: a, emptyDisk: {}}, {name: x, emptyDisk: {}}, {name: b, emptyDisk: {}}]}`,
			want:    `{volumes: [{name: x, emptyDisk: {}}, {name: b, emptyDisk: {}}]}`,
			differs: []string{"spec.template.spec.volumes[x] was added"},
		},
		"the spec removes its last entry": {
			was: `{volumes: [{name: a, emptyDisk: {}}]}`, spec: `{}`, live: `{volumes: [{name: a, emptyDisk: {}}]}`, want: `{volumes: []}`,
		},
		"the spec has no list and another client has": {
			was: `{}`, spec: `{}`, live: `{volumes: [{name: x, emptyDisk: {}}]}`, want: `{volumes: [{name: x, emptyDisk: {}}]}`,
			differs: []string{"spec.template.spec.volumes[x] was added"},
		},
		"an entry without record belongs to another client": {
			spec: `{volumes: [{name: b, emptyDisk: {}}]}`, live: `{volumes: [{name: a, emptyDisk: {}}]}`,
			want:    `{volumes: [{name: a, emptyDisk: {}}, {name: b, emptyDisk: {}}]}`,
			differs: []string{"spec.template.spec.volumes[a] was added"},
		},
		"an owned entry that was removed is added": {
			was: `{volumes: [{name: a, emptyDisk: {}}]}`, spec: `{volumes: [{name: a, emptyDisk: {}}]}`, live: `{volumes: []}`,
			want: `{volumes: [{name: a, emptyDisk: {}}]}`,
		},
		"an owned field that was changed is restored": {
			was: `{disks: [` + rootDisk + `]}`, spec: `{disks: [` + rootDisk + `]}`, live: `{disks: [{name: root, disk: {bus: sata}}]}`,
			want: `{disks: [` + rootDisk + `]}`,
		},
		"an owned field that left the spec is removed, a field of another client is kept": {
			was: `{disks: [{name: a, disk: {bus: virtio}, cache: none, tag: t}]}`, spec: `{disks: [{name: a, disk: {bus: virtio}}]}`,
			live: `{disks: [{name: a, disk: {bus: virtio}, cache: none, tag: t, serial: s}]}`,
			want: `{disks: [{name: a, disk: {bus: virtio}, serial: s}]}`,
		},
		"another source of a volume replaces the first": {
			was: `{volumes: [{name: a, containerDisk: {image: i}}]}`, spec: `{volumes: [{name: a, emptyDisk: {capacity: 1Gi}}]}`,
			live: `{volumes: [{name: a, containerDisk: {image: i, imagePullPolicy: Always}}]}`,
			want: `{volumes: [{name: a, emptyDisk: {capacity: 1Gi}}]}`,
		},
		"a device of another client in place of the spec's": {
			was: `{disks: [` + rootDisk + `]}`, spec: `{disks: [` + rootDisk + `]}`, live: `{disks: [{name: root, cdrom: {bus: sata}}]}`,
			want: `{disks: [` + rootDisk + `]}`,
		},
		"another source of a template": {
			was:  `{dataVolumeTemplates: [{metadata: {name: a}, spec: {source: {http: {url: u}}, storage: {}}}], volumes: [{name: v, dataVolume: {name: a}}]}`,
			spec: `{dataVolumeTemplates: [{metadata: {name: a}, spec: {source: {registry: {url: u}}, storage: {}}}], volumes: [{name: v, dataVolume: {name: a}}]}`,
			live: `{dataVolumeTemplates: [{metadata: {name: a, annotations: {x: y}}, spec: {source: {http: {url: u, secretRef: s}}, storage: {}}}], volumes: [{name: v, dataVolume: {name: a}}]}`,
			want: `{dataVolumeTemplates: [{metadata: {name: a, annotations: {x: y}}, spec: {source: {registry: {url: u}}, storage: {}}}], volumes: [{name: v, dataVolume: {name: a}}]}`,
		},
		"the order of the spec and the positions of other entries are kept": {
			was: `{disks: [{name: a}, {name: b}]}`, spec: `{disks: [{name: b}, {name: a}, {name: c}]}`, live: `{disks: [{name: a}, {name: x}, {name: b}]}`,
			want:    `{disks: [{name: b}, {name: x}, {name: a}, {name: c}]}`,
			differs: []string{"spec.template.spec.domain.devices.disks[x] was added"},
		},
		"a restore": {
			was: spec, spec: spec, live: afterRestore, want: afterRestore,
			differs: []string{
				"spec.template.spec.volumes[root] uses DataVolume restore-1-root instead of DataVolume web-root",
				"spec.dataVolumeTemplates[restore-1-root] was added",
			},
		},
		"a restore, without a record": {
			spec: spec, live: afterRestore, want: afterRestore,
			differs: []string{
				"spec.template.spec.volumes[root] uses DataVolume restore-1-root instead of DataVolume web-root",
				"spec.dataVolumeTemplates[restore-1-root] was added",
			},
		},
		"a restore that converts a data volume": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [` + root + `]}`,
			live:    `{volumes: [{name: root, persistentVolumeClaim: {claimName: restore-1-root}}]}`,
			want:    `{volumes: [{name: root, persistentVolumeClaim: {claimName: restore-1-root}}]}`,
			differs: []string{"spec.template.spec.volumes[root] uses PersistentVolumeClaim restore-1-root instead of DataVolume web-root"},
		},
		"a restore, and an edit of another part of the spec": {
			was: spec, spec: `{volumes: [` + root + `, {name: b, emptyDisk: {}}], disks: [` + rootDisk + `], dataVolumeTemplates: [` + template + `]}`,
			live: afterRestore,
			want: `{volumes: [` + restored + `, {name: b, emptyDisk: {}}], disks: [` + rootDisk + `], dataVolumeTemplates: [` + restoredTemplate + `]}`,
			differs: []string{
				"spec.template.spec.volumes[root] uses DataVolume restore-1-root instead of DataVolume web-root",
				"spec.dataVolumeTemplates[restore-1-root] was added",
			},
		},
		"a restore, and the restored names in the spec": {was: spec, spec: afterRestore, live: afterRestore, want: afterRestore},
		"a restore, and an edit of the volume": {
			was:  spec,
			spec: `{volumes: [{name: root, dataVolume: {name: new}}], disks: [` + rootDisk + `], dataVolumeTemplates: [{metadata: {name: new}, spec: {storage: {}}}]}`,
			live: afterRestore,
			want: `{volumes: [{name: root, dataVolume: {name: new}}], disks: [` + rootDisk + `], dataVolumeTemplates: [{metadata: {name: new}, spec: {storage: {}}}]}`,
		},
		"a restore, and the volume leaves the spec": {
			was: spec, spec: `{}`, live: afterRestore, want: `{volumes: [], disks: [], dataVolumeTemplates: []}`,
		},
		"a restore, and an edit of other fields of the volume, its disk and its template": {
			was:  spec,
			spec: `{volumes: [{name: root, dataVolume: {name: web-root, hotpluggable: true}}], disks: [{name: root, disk: {bus: sata}}], dataVolumeTemplates: [{metadata: {name: web-root}, spec: {source: {http: {url: "http://b"}}, storage: {}}}]}`,
			live: afterRestore,
			want: `{volumes: [{name: root, dataVolume: {name: restore-1-root, hotpluggable: true}}], disks: [{name: root, disk: {bus: sata}}], dataVolumeTemplates: [` + restoredTemplate + `]}`,
			differs: []string{
				"spec.template.spec.volumes[root] uses DataVolume restore-1-root instead of DataVolume web-root",
				"spec.dataVolumeTemplates[restore-1-root] was added",
			},
		},
		"a restore, and another name of the volume": {
			was:  spec,
			spec: `{volumes: [{name: system, dataVolume: {name: web-root}}], disks: [{name: system, disk: {bus: virtio}}], dataVolumeTemplates: [` + template + `]}`,
			live: afterRestore,
			want: `{volumes: [{name: system, dataVolume: {name: restore-1-root}}], disks: [{name: system, disk: {bus: virtio}}], dataVolumeTemplates: [` + restoredTemplate + `]}`,
			differs: []string{
				"spec.template.spec.volumes[system] uses DataVolume restore-1-root instead of DataVolume web-root",
				"spec.dataVolumeTemplates[restore-1-root] was added",
			},
		},
		"a restore, another name of the volume, and another volume of its name": {
			was: spec, spec: `{volumes: [{name: system, dataVolume: {name: web-root}}, {name: root, emptyDisk: {}}]}`, live: afterRestore,
			want:    `{volumes: [{name: system, dataVolume: {name: restore-1-root}}, {name: root, emptyDisk: {}}], disks: [], dataVolumeTemplates: [` + restoredTemplate + `]}`,
			differs: []string{"spec.template.spec.volumes[system] uses DataVolume restore-1-root instead of DataVolume web-root", "spec.dataVolumeTemplates[restore-1-root] was added"},
		},
		"a restore, and exchanged names of volumes": {
			was: `{volumes: [` + root + `, {name: b, dataVolume: {name: web-b}}]}`, spec: `{volumes: [{name: b, dataVolume: {name: web-root}}, {name: root, dataVolume: {name: web-b}}]}`,
			live:    `{volumes: [` + restored + `, {name: b, dataVolume: {name: web-b}}]}`,
			want:    `{volumes: [{name: b, dataVolume: {name: restore-1-root}}, {name: root, dataVolume: {name: web-b}}]}`,
			differs: []string{"spec.template.spec.volumes[b] uses DataVolume restore-1-root instead of DataVolume web-root"},
		},
		"a restore that converts a data volume, and an edit of another field": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [{name: root, dataVolume: {name: web-root, hotpluggable: true}}]}`,
			live:    `{volumes: [{name: root, persistentVolumeClaim: {claimName: restore-1-root}}]}`,
			want:    `{volumes: [{name: root, persistentVolumeClaim: {claimName: restore-1-root}}]}`,
			differs: []string{"spec.template.spec.volumes[root] uses PersistentVolumeClaim restore-1-root instead of DataVolume web-root"},
		},
		"a restore, and another kind of source in the spec": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [{name: root, containerDisk: {image: i}}]}`,
			live: `{volumes: [` + restored + `]}`, want: `{volumes: [{name: root, containerDisk: {image: i}}]}`,
		},
		"a volume that was replaced by an ephemeral one": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [` + root + `]}`, live: `{volumes: [{name: root, emptyDisk: {}}]}`, want: `{volumes: [` + root + `]}`,
		},
		"a migration of volumes": {
			was: `{volumes: [` + root + `], updateVolumesStrategy: Replacement}`, spec: `{volumes: [` + root + `], updateVolumesStrategy: Replacement}`,
			live: `{volumes: [{name: root, dataVolume: {name: moved}}], updateVolumesStrategy: Migration}`,
			want: `{volumes: [{name: root, dataVolume: {name: moved}}], updateVolumesStrategy: Migration}`,
			differs: []string{
				"spec.template.spec.volumes[root] uses DataVolume moved instead of DataVolume web-root",
				"spec.updateVolumesStrategy was changed",
			},
		},
		"a hotpluggable volume of the spec that was removed": {
			was:     `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}], disks: [{name: a}, {name: b}]}`,
			spec:    `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}], disks: [{name: a}, {name: b}]}`,
			live:    `{volumes: [], disks: [{name: b}]}`,
			want:    `{volumes: [], disks: [{name: b}]}`,
			differs: []string{"spec.template.spec.volumes[a] was removed"},
		},
		"a hotpluggable volume that was removed, and an edit": {
			was:  `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}], disks: [{name: a}]}`,
			spec: `{volumes: [{name: a, persistentVolumeClaim: {claimName: d, hotpluggable: true}}], disks: [{name: a}]}`,
			live: `{volumes: [], disks: []}`,
			want: `{volumes: [{name: a, persistentVolumeClaim: {claimName: d, hotpluggable: true}}], disks: [{name: a}]}`,
		},
		"a hotpluggable volume that was removed, and an edit of another field": {
			was:     `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}], disks: [{name: a}]}`,
			spec:    `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true, readOnly: true}}], disks: [{name: a, serial: s}]}`,
			live:    `{volumes: [], disks: []}`,
			want:    `{volumes: [], disks: []}`,
			differs: []string{"spec.template.spec.volumes[a] was removed"},
		},
		"an interface that is being unplugged": {
			was: nets("state: up"), spec: nets("state: up, model: e1000"), live: nets("state: absent"), want: nets("state: absent, model: e1000"),
			differs: []string{"spec.template.spec.domain.devices.interfaces[b] has state absent, so KubeVirt removes it"},
		},
		"an interface that is being unplugged, without a state in the spec": {
			was: nets("model: e1000"), spec: nets("model: e1000"), live: nets("state: absent, model: e1000"), want: nets("state: absent, model: e1000"),
			differs: []string{"spec.template.spec.domain.devices.interfaces[b] has state absent, so KubeVirt removes it"},
		},
		"an interface that is being unplugged, and an edit of its state": {
			was: nets("state: up"), spec: nets("state: down"), live: nets("state: absent"), want: nets("state: down"),
		},
		"an interface that was unplugged, and an edit of another field": {
			was: nets("state: up"), spec: nets("model: e1000"), live: onlyDefault, want: onlyDefault,
			differs: []string{"spec.template.spec.domain.devices.interfaces[b] was removed"},
		},
		"an interface that was unplugged, and another network": {
			was: nets("state: up"), spec: strings.ReplaceAll(nets("state: up"), "networkName: n", "networkName: other"), live: onlyDefault,
			want: strings.ReplaceAll(nets("state: up"), "networkName: n", "networkName: other"),
		},
		"an interface that was unplugged and leaves the spec": {was: nets("state: up"), spec: onlyDefault, live: onlyDefault, want: onlyDefault},
		"an interface that KubeVirt cannot unplug, and the default interface": {
			was:  `{interfaces: [{name: default, masquerade: {}}, {name: b, sriov: {}}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			spec: `{interfaces: [{name: default, masquerade: {}}, {name: b, sriov: {}}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			live: `{interfaces: [], networks: []}`,
			want: `{interfaces: [{name: default, masquerade: {}}, {name: b, sriov: {}}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
		},
		"an interface that KubeVirt detached": {
			was:  `{interfaces: [{name: default, masquerade: {}}, {name: b, bridge: {}, state: absent}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			spec: `{interfaces: [{name: default, masquerade: {}}, {name: b, bridge: {}, state: absent}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			live: `{interfaces: [{name: default, masquerade: {}}], networks: [{name: default, pod: {}}]}`,
			want: `{interfaces: [{name: default, masquerade: {}}], networks: [{name: default, pod: {}}]}`,
		},
		"another binding of the mesh's interface, an address, and a hotplugged interface": {
			was:  `{interfaces: [{name: default, masquerade: {}}], networks: [{name: default, pod: {}}]}`,
			spec: `{interfaces: [{name: default, masquerade: {}}], networks: [{name: default, pod: {}}]}`,
			live: `{interfaces: [{name: default, bridge: {}, macAddress: "02:00:00:00:00:01"}, {name: b, bridge: {}}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			want: `{interfaces: [{name: default, masquerade: {}, macAddress: "02:00:00:00:00:01"}, {name: b, bridge: {}}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`,
			differs: []string{
				"spec.template.spec.domain.devices.interfaces[b] was added",
				"spec.template.spec.networks[b] was added",
			},
		},
		"other lists": {
			was: `{gpus: [{name: a}]}`, spec: `{gpus: [{name: a}]}`, live: `{gpus: [{name: a}, {name: b}], filesystems: [{name: f, virtiofs: {}}]}`,
			want: `{gpus: [{name: a}, {name: b}], filesystems: [{name: f, virtiofs: {}}]}`,
			differs: []string{
				"spec.template.spec.domain.devices.filesystems[f] was added",
				"spec.template.spec.domain.devices.gpus[b] was added",
			},
		},
		"a list without unique names": {
			was: `{disks: [{name: a}]}`, spec: `{disks: [{name: a}, {name: a}]}`, live: `{disks: [{name: a}]}`, want: `{disks: [{name: a}, {name: a}]}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			live := vm(t, tc.live)
			if tc.was != "" {
				recordOf(vm(t, tc.was).Object).store(live)
			}
			got := Merge(vm(t, tc.spec), live, "")
			if d := cmp.Diff(lists(vm(t, tc.want)), lists(got.Object)); d != "" {
				t.Errorf("lists (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.differs, described(Differences(got.Object))); d != "" {
				t.Errorf("differences (-want +got):\n%s", d)
			}
			// The next reconcile finds the lists as they are desired.
			again := Merge(vm(t, tc.spec), got.Object, "")
			if d := cmp.Diff(got.Object.Object, again.Object.Object); d != "" {
				t.Errorf("the second merge differs (-first +second):\n%s", d)
			}
			if d := cmp.Diff(Differences(got.Object), Differences(again.Object)); d != "" {
				t.Errorf("the differences of the second merge differ (-first +second):\n%s", d)
			}
		})
	}
}

const onlyDefault = `{interfaces: [{name: default, masquerade: {}}], networks: [{name: default, pod: {}}]}`

// nets returns the default interface and a secondary one with further fields.
func nets(fields string) string {
	return `{interfaces: [{name: default, masquerade: {}}, {name: b, bridge: {}, ` + fields + `}], networks: [{name: default, pod: {}}, {name: b, multus: {networkName: n}}]}`
}

func described(differences []Difference) []string {
	var out []string
	for _, d := range differences {
		out = append(out, d.Field()+" "+d.Change)
	}
	return out
}

// TestMergeWhileBusy checks that an operation of KubeVirt delays an edit of the spec,
// and that the edit is applied afterwards.
func TestMergeWhileBusy(t *testing.T) {
	live := vm(t, `{volumes: [`+root+`], disks: [`+rootDisk+`, {name: x}]}`)
	recordOf(vm(t, `{volumes: [`+root+`], disks: [`+rootDisk+`]}`).Object).store(live)
	edited := vm(t, `{volumes: [{name: root, dataVolume: {name: other}}], disks: [`+rootDisk+`], networks: [{name: n}]}`)

	busy := Merge(edited, live, "VirtualMachineRestore r")
	if d := cmp.Diff(lists(live), lists(busy.Object)); d != "" {
		t.Errorf("lists during the operation (-live +got):\n%s", d)
	}
	if busy.Delayed != "VirtualMachineRestore r" {
		t.Errorf("delayed is %q", busy.Delayed)
	}
	after := Merge(edited, busy.Object, "")
	want := vm(t, `{volumes: [{name: root, dataVolume: {name: other}}], disks: [`+rootDisk+`, {name: x}], networks: [{name: n}]}`)
	if d := cmp.Diff(lists(want), lists(after.Object)); d != "" {
		t.Errorf("lists after the operation (-want +got):\n%s", d)
	}
	if unchanged := Merge(vm(t, `{volumes: [`+root+`], disks: [`+rootDisk+`]}`), live, "VirtualMachineRestore r"); unchanged.Delayed != "" {
		t.Errorf("delayed is %q although no edit is delayed", unchanged.Delayed)
	}
}

func TestMergeOfANewObject(t *testing.T) {
	want := vm(t, spec)
	got := Merge(want, nil, "")
	if d := cmp.Diff(lists(want), lists(got.Object)); d != "" {
		t.Errorf("lists (-want +got):\n%s", d)
	}
	record := got.Object.GetAnnotations()[v1alpha1.AnnotationOwnedEntries]
	for _, name := range []string{"spec.template.spec.volumes", "spec.dataVolumeTemplates", "web-root"} {
		if !strings.Contains(record, name) {
			t.Errorf("the record does not contain %s: %s", name, record)
		}
	}
	if strings.Contains(record, "http://a") {
		t.Errorf("the record contains a value: %s", record)
	}
}
