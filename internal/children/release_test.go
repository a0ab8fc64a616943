// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

// TestReleased checks what remains of the VirtualMachine of a deleted object.
func TestReleased(t *testing.T) {
	type labels = map[string]any
	paused := string(kubevirtv1.StartStrategyPaused)
	vm := func(metadata, template labels, start string) *unstructured.Unstructured {
		spec, annotations := map[string]any{"domain": map[string]any{}}, map[string]any{"note": "kept"}
		if template[v1alpha1.LabelStartGate] != nil {
			annotations[v1alpha1.AnnotationServiceAccount] = "db"
		}
		if start != "" {
			spec["startStrategy"] = start
		}
		u := &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"name": "web", "labels": metadata, "annotations": map[string]any{"note": "kept"}},
			"spec":     map[string]any{"template": map[string]any{"metadata": map[string]any{"labels": template, "annotations": annotations}, "spec": spec}},
		}}
		u.SetGroupVersionKind(children.VirtualMachineKind)
		return u
	}
	ours := func(more labels) labels {
		out := labels{v1alpha1.LabelManagedBy: "meshvm", v1alpha1.LabelMeshedVirtualMachine: "web", v1alpha1.LabelService: "web", v1alpha1.LabelStartGate: "Container"}
		maps.Copy(out, more)
		return out
	}
	user := labels{"team": "a", v1alpha1.LabelManagedBy: "Helm", v1alpha1.LabelVersion: "v1", v1alpha1.LabelSidecarInject: "true"}
	declared := b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) {
		s.Template.Spec.StartStrategy = new(kubevirtv1.StartStrategyPaused)
	})
	for name, tc := range map[string]struct {
		mvm        *b.MVMBuilder
		live, want *unstructured.Unstructured
	}{
		"the operator's":         {b.MVM("web"), vm(ours(nil), ours(nil), paused), vm(labels{}, labels{}, "")},
		"the user's":             {declared, vm(ours(user), ours(user), paused), vm(user, user, paused)},
		"already without labels": {b.MVM("web"), vm(user, user, ""), vm(user, user, "")},
	} {
		t.Run(name, func(t *testing.T) {
			own := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "user", UID: "user"}
			tc.live.SetOwnerReferences([]metav1.OwnerReference{own, children.OwnerReference(tc.mvm.Obj())})
			tc.live.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "virt-controller"}, {Manager: v1alpha1.FieldOwner, Operation: metav1.ManagedFieldsOperationApply}, {Manager: v1alpha1.FieldOwner}})
			tc.live.SetAnnotations(map[string]string{"note": "kept", v1alpha1.AnnotationAppliedDigest: "d", v1alpha1.AnnotationOwnedEntries: "{}", v1alpha1.AnnotationInferredFrom: "root/"})
			got := children.Released(tc.mvm.Obj(), tc.live)
			if len(got.GetLabels()) == 0 {
				got.SetLabels(map[string]string{})
			}
			if diff := cmp.Diff(tc.want.GetLabels(), got.GetLabels()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.want.GetAnnotations(), got.GetAnnotations()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]metav1.OwnerReference{own}, got.GetOwnerReferences()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]metav1.ManagedFieldsEntry{{Manager: "virt-controller"}}, got.GetManagedFields()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.want.Object["spec"], got.Object["spec"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReleasedOnlyManager removes the only field manager. The API server would ignore an
// empty list.
func TestReleasedOnlyManager(t *testing.T) {
	vm := &unstructured.Unstructured{Object: map[string]any{}}
	if got := children.Released(b.MVM("web").Obj(), vm).GetManagedFields(); len(got) > 0 {
		t.Errorf("no managed fields became %v", got)
	}
	vm.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: v1alpha1.FieldOwner}})
	if diff := cmp.Diff([]metav1.ManagedFieldsEntry{{}}, children.Released(b.MVM("web").Obj(), vm).GetManagedFields()); diff != "" {
		t.Error(diff)
	}
}

// TestKeptVirtualMachine compares the children of an object that keeps its VirtualMachine
// with those of one that does not: they differ only in the owner of the VirtualMachine.
func TestKeptVirtualMachine(t *testing.T) {
	mvm := b.MVM("web").Ports(b.HTTP("http", 80, 8080))
	deleted, err := children.Desired(input(mvm, b.VMI("web"), "pod"))
	if err != nil {
		t.Fatal(err)
	}
	in := input(mvm, b.VMI("web"), "pod")
	in.MVM.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	kept, err := children.Desired(in)
	if err != nil || len(kept) != len(deleted) {
		t.Fatalf("%d children, want %d: %v", len(kept), len(deleted), err)
	}
	for i, o := range kept {
		if o.GetObjectKind().GroupVersionKind() == children.VirtualMachineKind {
			if refs := o.GetOwnerReferences(); len(refs) > 0 {
				t.Errorf("the VirtualMachine has the owners %v", refs)
			}
			o.SetOwnerReferences(deleted[i].GetOwnerReferences())
		}
		if diff := cmp.Diff(deleted[i], o, protocmp.Transform()); diff != "" {
			t.Errorf("%T: %s", o, diff)
		}
	}
}
