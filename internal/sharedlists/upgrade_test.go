// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestMergeAfterUpgrade merges with the VirtualMachine of an earlier version of the
// operator, whose record is missing or has no subjects. Its managed fields show whether
// another client changed the lists.
func TestMergeAfterUpgrade(t *testing.T) {
	const owned = `{"f:spec":{"f:dataVolumeTemplates":{},"f:updateVolumesStrategy":{},"f:template":{"f:spec":{"f:volumes":{},"f:domain":{"f:devices":{"f:disks":{}}}}}}}`
	operator, other := managedBy(v1alpha1.FieldOwner, "", owned), managedBy("virt-controller", "", owned)
	tests := map[string]struct {
		// was is the spec in the record, empty for none.
		was, spec, live, want string
		managed               []metav1.ManagedFieldsEntry
	}{
		"an edited claim": {
			spec: `{volumes: [{name: root, dataVolume: {name: new}}]}`, live: `{volumes: [` + root + `]}`, want: `{volumes: [{name: root, dataVolume: {name: new}}]}`,
			managed: []metav1.ManagedFieldsEntry{operator},
		},
		"an edited claim, with a record": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [{name: root, dataVolume: {name: new}}]}`, live: `{volumes: [` + root + `]}`, want: `{volumes: [{name: root, dataVolume: {name: new}}]}`,
			managed: []metav1.ManagedFieldsEntry{operator},
		},
		"a removed entry": {
			spec: `{volumes: [` + root + `]}`, live: `{volumes: [` + root + `, {name: b, emptyDisk: {}}]}`, want: `{volumes: [` + root + `]}`,
			managed: []metav1.ManagedFieldsEntry{operator},
		},
		"an edited strategy": {
			spec: `{updateVolumesStrategy: Migration}`, live: `{updateVolumesStrategy: Replacement}`, want: `{updateVolumesStrategy: Migration}`,
			managed: []metav1.ManagedFieldsEntry{operator},
		},
		"a moved claim and an added entry": {
			spec: `{volumes: [` + root + `]}`, live: `{volumes: [` + restored + `, {name: b, emptyDisk: {}}]}`, want: `{volumes: [` + restored + `, {name: b, emptyDisk: {}}]}`,
			managed: []metav1.ManagedFieldsEntry{other},
		},
		"a moved claim, with a record, and an edit of another field": {
			was: `{volumes: [` + root + `]}`, spec: `{volumes: [{name: root, dataVolume: {name: web-root, hotpluggable: true}}]}`, live: `{volumes: [` + restored + `]}`,
			want:    `{volumes: [{name: root, dataVolume: {name: restore-1-root, hotpluggable: true}}]}`,
			managed: []metav1.ManagedFieldsEntry{other},
		},
		"a list that both wrote": {
			spec: `{volumes: [` + root + `]}`, live: `{volumes: [` + restored + `]}`, want: `{volumes: [` + restored + `]}`,
			managed: []metav1.ManagedFieldsEntry{operator, other},
		},
		"unknown managers": {
			spec: `{volumes: [` + root + `]}`, live: `{volumes: [` + restored + `]}`, want: `{volumes: [` + restored + `]}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			live := vm(t, tc.live)
			if tc.was != "" {
				r := recordOf(vm(t, tc.was).Object)
				for l, es := range r {
					for name, o := range es {
						o.Subject, o.Removable = "", false
						r.set(l, name, o)
					}
				}
				r.store(live)
			}
			annotations := live.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[v1alpha1.AnnotationAppliedDigest] = "x"
			live.SetAnnotations(annotations)
			live.SetManagedFields(tc.managed)
			got := Merge(vm(t, tc.spec), live, "").Object
			if d := cmp.Diff(lists(vm(t, tc.want)), lists(got)); d != "" {
				t.Errorf("lists (-want +got):\n%s", d)
			}
			// A client that removes all annotations leaves no evidence.
			live.SetAnnotations(nil)
			if got := Merge(vm(t, tc.spec), live, "").Object; len(tc.managed) == 1 && tc.managed[0].Manager == v1alpha1.FieldOwner && cmp.Equal(lists(vm(t, tc.want)), lists(got)) {
				t.Error("an object without annotations is treated in the same way")
			}
		})
	}
}

// TestMadeHotpluggable removes a volume that is hotpluggable only in the VirtualMachine.
func TestMadeHotpluggable(t *testing.T) {
	wanted := vm(t, `{volumes: [{name: a, persistentVolumeClaim: {claimName: c}}], disks: [{name: a}]}`)
	live := vm(t, `{volumes: [{name: a, persistentVolumeClaim: {claimName: c, hotpluggable: true}}], disks: [{name: a}]}`)
	merged := Merge(wanted, live, "").Object
	for _, l := range []list{volumes, disks} {
		l.set(merged.Object, nil, true)
	}
	for range 2 {
		merged = Merge(wanted, merged, "").Object
		if d := cmp.Diff([]string{"spec.template.spec.volumes[a] was removed"}, described(Differences(merged))); d != "" {
			t.Errorf("differences (-want +got):\n%s", d)
		}
		if es, _ := volumes.entries(merged.Object); len(es) != 0 {
			t.Errorf("the volume was added: %v", es)
		}
	}
}
