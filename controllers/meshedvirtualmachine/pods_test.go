// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
)

// TestPodsKnown checks that the pods are known only after all reads of pods succeeded.
// The pod of the PodNATConfiguration is hidden from the cache.
func TestPodsKnown(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(kubevirtv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	mvm, vmi := world().mvm, builders.VMI("web").Obj()
	vmi.Namespace = mvm.Namespace
	hidden := builders.LauncherPod(vmi, "abcde").Obj()
	config := v1alpha1.PodNATConfiguration{ObjectMeta: metav1.ObjectMeta{
		Name: "web", OwnerReferences: []metav1.OwnerReference{{UID: mvm.UID, Controller: new(true)}},
	}}
	config.Spec.Pod.Name, config.Spec.Pod.UID = hidden.Name, hidden.UID
	down := errors.New("down")
	for name, tc := range map[string]struct {
		pods, configs, hidden error
	}{
		"all reads succeeded":              {},
		"no list of pods":                  {pods: down},
		"no list of PodNATConfigurations":  {configs: down},
		"the hidden pod could not be read": {hidden: down},
	} {
		t.Run(name, func(t *testing.T) {
			server := fake.NewClientBuilder().WithScheme(scheme).WithObjects(vmi).Build()
			cached := interceptor.NewClient(server, interceptor.Funcs{
				List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
					if l, ok := list.(*v1alpha1.PodNATConfigurationList); ok {
						l.Items = append(l.Items, config)
						return tc.configs
					}
					return tc.pods
				},
			})
			live := interceptor.NewClient(server, interceptor.Funcs{
				List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
					if l, ok := list.(*corev1.PodList); ok && tc.hidden == nil {
						l.Items = append(l.Items, *hidden)
					}
					return tc.hidden
				},
			})
			s := &scope{mvm: mvm}
			err := (&Reconciler{Client: cached, Reader: live}).gatherGuest(t.Context(), s)
			want := errors.Join(tc.pods, tc.configs, tc.hidden) == nil
			if (err == nil) != want || s.podsKnown != want || want && len(s.pods) != 1 {
				t.Errorf("%d pods, known %t, error %v", len(s.pods), s.podsKnown, err)
			}
		})
	}
}

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
