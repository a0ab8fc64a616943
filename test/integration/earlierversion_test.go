// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// asEarlierVersion applies the VirtualMachine as it is with another record, like an
// earlier version of the operator. An empty record means that it wrote none.
func (s *suite) asEarlierVersion(name string, record func(string) string) {
	s.Helper()
	live, err := s.read(children.VirtualMachineKind, name)
	if err != nil {
		s.Fatal(err)
	}
	annotations := maps.Clone(live.GetAnnotations())
	annotations[v1alpha1.AnnotationOwnedEntries] = record(annotations[v1alpha1.AnnotationOwnedEntries])
	if annotations[v1alpha1.AnnotationOwnedEntries] == "" {
		delete(annotations, v1alpha1.AnnotationOwnedEntries)
	}
	applied := &unstructured.Unstructured{Object: map[string]any{"spec": live.Object["spec"]}}
	applied.SetGroupVersionKind(live.GroupVersionKind())
	applied.SetNamespace(live.GetNamespace())
	applied.SetName(name)
	applied.SetLabels(live.GetLabels())
	applied.SetAnnotations(annotations)
	applied.SetOwnerReferences(live.GetOwnerReferences())
	if err := s.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(v1alpha1.FieldOwner), client.ForceOwnership); err != nil {
		s.Fatal(err)
	}
	after, err := s.read(children.VirtualMachineKind, name)
	if err != nil {
		s.Fatal(err)
	}
	if got, want := after.GetAnnotations()[v1alpha1.AnnotationOwnedEntries], annotations[v1alpha1.AnnotationOwnedEntries]; got != want {
		s.Fatalf("the record is %q, want %q", got, want)
	}
}

func noRecord(string) string { return "" }

// withoutSubjects returns a record in the first format.
func withoutSubjects(record string) string {
	var lists map[string]map[string]map[string]any
	if json.Unmarshal([]byte(record), &lists) != nil {
		return ""
	}
	for _, entries := range lists {
		for _, e := range entries {
			delete(e, "subject")
			delete(e, "removable")
		}
	}
	out, _ := json.Marshal(lists) // Decoded JSON can be encoded.
	return string(out)
}

// TestEditsDuringUpgrade edits the spec while no operator runs. The VirtualMachine was
// applied by an earlier version of the operator. The edit takes effect, and changes of
// other clients stay.
func TestEditsDuringUpgrade(t *testing.T) {
	moveTo := func(claim string) func(*kubevirtv1.VirtualMachine) {
		return func(vm *kubevirtv1.VirtualMachine) { moveRoot(&vm.Spec, claim) }
	}
	tests := map[string]struct {
		record func(string) string
		// foreign is a write of another client before the edit of the user.
		foreign func(*kubevirtv1.VirtualMachine)
		user    func(*v1alpha1.MeshedVirtualMachineSpec)
		want    string
	}{
		"another claim and one entry less, without a record": {
			record: noRecord, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
				moveRoot(&spec.VirtualMachine, "new-root")
				without(&spec.VirtualMachine.Template.Spec, "scratch")
			},
			want: "template new-root, volume root=new-root, disk root" + network,
		},
		"another claim and one entry less, with a record of the first format": {
			record: withoutSubjects, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
				moveRoot(&spec.VirtualMachine, "new-root")
				without(&spec.VirtualMachine.Template.Spec, "scratch")
			},
			want: "template new-root, volume root=new-root, disk root" + network,
		},
		"another field after a restore, without a record": {
			record: noRecord, foreign: moveTo("restored"), user: hotpluggableRoot,
			want: "template restored, volume root=restored, volume scratch, disk root, disk scratch" + network,
		},
		"another field after a restore, with a record of the first format": {
			record: withoutSubjects, foreign: moveTo("restored"), user: hotpluggableRoot,
			want: "template restored, volume root=restored, volume scratch, disk root, disk scratch" + network,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			o := s.stateful()
			with(&o.Spec.VirtualMachine.Template.Spec, emptyDisk("scratch"))
			s.converge(o)
			s.quiet()
			s.stop()
			s.asEarlierVersion(o.Name, tc.record)
			if tc.foreign != nil {
				s.editVM(o.Name, "virt-controller", tc.foreign)
			}
			s.edit(o.Name, tc.user)
			s.run(nil)
			s.awaitLists(o.Name, tc.want)
			if tc.foreign == nil {
				s.adjusted(o.Name)
			} else {
				s.adjusted(o.Name, "volumes[root] uses DataVolume restored instead of DataVolume web-root")
			}
		})
	}
}

// hotpluggableRoot edits a field of the root volume other than its claim.
func hotpluggableRoot(spec *v1alpha1.MeshedVirtualMachineSpec) {
	vs := spec.VirtualMachine.Template.Spec.Volumes
	i := slices.IndexFunc(vs, func(v kubevirtv1.Volume) bool { return v.Name == "root" })
	vs[i].DataVolume.Hotpluggable = !vs[i].DataVolume.Hotpluggable
}
