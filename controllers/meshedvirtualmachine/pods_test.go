// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestForeignGuest checks which VirtualMachineInstances belong to another owner.
func TestForeignGuest(t *testing.T) {
	mvm := world().mvm
	owned := func(kind string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: mvm.Name, UID: uid, Controller: new(true)}}
	}
	vm := func(labels map[string]string, refs []metav1.OwnerReference) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetNamespace(mvm.Namespace)
		u.SetName(mvm.Name)
		u.SetUID("vm")
		u.SetLabels(labels)
		u.SetOwnerReferences(refs)
		return u
	}
	const kind = "MeshedVirtualMachine"
	ours := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: mvm.Name}
	for name, tc := range map[string]struct {
		vm   *unstructured.Unstructured
		refs []metav1.OwnerReference
		want bool
	}{
		"controlled":                         {vm(ours, owned(kind, mvm.UID)), owned("VirtualMachine", "vm"), false},
		"controlled, labels removed":         {vm(nil, owned(kind, mvm.UID)), owned("VirtualMachine", "vm"), false},
		"adoptable":                          {vm(ours, nil), owned("VirtualMachine", "vm"), false},
		"of an earlier MeshedVirtualMachine": {vm(nil, owned(kind, "earlier")), owned("VirtualMachine", "vm"), false},
		"VirtualMachine replaced, instance not claimed yet": {vm(ours, owned(kind, mvm.UID)), nil, false},
		"VirtualMachine deleted, instance orphaned":         {nil, nil, false},
		"VirtualMachine of a user":                          {vm(nil, nil), owned("VirtualMachine", "vm"), true},
		"VirtualMachine of a user, instance orphaned":       {vm(nil, nil), nil, true},
		"VirtualMachine of another controller":              {vm(ours, owned("Pool", "pool")), owned("VirtualMachine", "vm"), true},
		"instance of an earlier VirtualMachine":             {vm(ours, owned(kind, mvm.UID)), owned("VirtualMachine", "earlier"), true},
		"instance of a deleted VirtualMachine":              {nil, owned("VirtualMachine", "earlier"), true},
		"instance of another controller":                    {vm(ours, owned(kind, mvm.UID)), owned("VirtualMachineInstanceReplicaSet", "set"), true},
	} {
		t.Run(name, func(t *testing.T) {
			vmi := &kubevirtv1.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Name: mvm.Name, OwnerReferences: tc.refs}}
			if got := foreignGuest(mvm, tc.vm, vmi); got != tc.want {
				t.Errorf("foreign is %t, want %t", got, tc.want)
			}
		})
	}
}
