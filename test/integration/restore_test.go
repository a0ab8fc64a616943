// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// firmwareUUID is a field of the VirtualMachine that KubeVirt sets and that belongs
// to the guest's identity.
const firmwareUUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"

// backup contains the objects of a guest as a backup tool stores them.
type backup struct {
	mvm      *unstructured.Unstructured
	children []*unstructured.Unstructured
	nat      *unstructured.Unstructured
}

// takeBackup returns the objects of a converged guest as Velero stores them:
// without owner references, status and fields that the API server assigns. With
// references, the objects keep their owner references.
func (s *suite) takeBackup(o *v1alpha1.MeshedVirtualMachine, nat *v1alpha1.PodNATConfiguration, references bool) backup {
	s.Helper()
	save := func(kind children.Kind, name string) *unstructured.Unstructured {
		u, err := s.read(kind.GroupVersionKind, name)
		if err != nil {
			s.Fatal(err)
		}
		return saved(u, references)
	}
	b := backup{mvm: save(children.Kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine")}, o.Name)}
	for _, kind := range children.Kinds() {
		if kind.GroupVersionKind == children.PodNATConfigurationKind {
			b.nat = save(kind, nat.Name)
			continue
		}
		if kind.Optional && o.Spec.Mesh.Allow == nil || kind.GroupVersionKind == children.ServiceEntryKind {
			continue
		}
		b.children = append(b.children, save(kind, o.Name))
	}
	if len(b.nat.GetFinalizers()) == 0 {
		s.Fatal("the PodNATConfiguration has no finalizer")
	}
	return b
}

// saved returns the object as a restore creates it.
func saved(u *unstructured.Unstructured, references bool) *unstructured.Unstructured {
	metadata := map[string]any{
		"name": u.GetName(), "namespace": u.GetNamespace(), "labels": u.Object["metadata"].(map[string]any)["labels"],
		"annotations": u.Object["metadata"].(map[string]any)["annotations"],
	}
	if u.GetKind() == "PodNATConfiguration" {
		metadata["finalizers"] = u.Object["metadata"].(map[string]any)["finalizers"]
	}
	if references {
		metadata["ownerReferences"] = u.Object["metadata"].(map[string]any)["ownerReferences"]
	}
	for k, v := range metadata {
		if v == nil {
			delete(metadata, k)
		}
	}
	out := &unstructured.Unstructured{Object: map[string]any{"metadata": metadata, "spec": u.Object["spec"]}}
	out.SetGroupVersionKind(u.GroupVersionKind())
	for _, field := range []string{"clusterIP", "clusterIPs"} {
		if u.GetKind() == "Service" {
			unstructured.RemoveNestedField(out.Object, "spec", field)
		}
	}
	return out.DeepCopy()
}

// restore creates an object unless it exists, like a backup tool.
func (s *suite) restore(objects ...*unstructured.Unstructured) {
	s.Helper()
	for _, o := range objects {
		if err := s.Create(s.Context(), o.DeepCopy()); client.IgnoreAlreadyExists(err) != nil {
			s.Fatal(err)
		}
	}
}

// deleteGuest deletes a guest and all its objects, and waits until they are
// deleted.
func (s *suite) deleteGuest(o *v1alpha1.MeshedVirtualMachine, pod *corev1.Pod) {
	s.Helper()
	vmi := &kubevirtv1.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: o.Name}}
	if err := errors.Join(s.Delete(s.Context(), s.mvm(o.Name)), client.IgnoreNotFound(s.Delete(s.Context(), vmi))); err != nil {
		s.Fatal(err)
	}
	s.end(pod)
	s.eventually("all objects of the guest are deleted", func() error {
		for _, kind := range children.Kinds() {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersionKind)
			if err := s.List(s.Context(), list, client.InNamespace(s.namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}); err != nil {
				return err
			}
			if len(list.Items) > 0 {
				return fmt.Errorf("%d of kind %s exist", len(list.Items), kind.Kind)
			}
		}
		return nil
	})
}

// allOwned checks that the MeshedVirtualMachine controls all children, and that no
// conflict is reported.
func (s *suite) allOwned(name string) error {
	o := s.mvm(name)
	kinds := singletons
	if o.Spec.Mesh.Allow != nil {
		kinds = slices.Concat(singletons, requested)
	}
	for _, kind := range kinds {
		u, err := s.read(kind, name)
		if err == nil && !metav1.IsControlledBy(u, o) {
			err = fmt.Errorf("%s has the owners %v", kind.Kind, u.GetOwnerReferences())
		}
		if err != nil {
			return err
		}
	}
	if c := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionConflicted)); c != nil {
		return errors.New(c.Message)
	}
	return nil
}

// TestRestore deletes a guest and restores its objects in every order, with and
// without owner references, while the operator runs and while it does not. In the end
// the MeshedVirtualMachine controls all children, PodNATConfigurations of pods that no
// longer exist are deleted, and the guest becomes Ready.
func TestRestore(t *testing.T) {
	tests := map[string]struct {
		order func(*suite, backup)
		// stopped is set when the operator does not run during the restore.
		stopped, references bool
		// kept is set when the restored VirtualMachine must survive.
		kept bool
	}{
		"children, then their owner": {kept: true, order: func(s *suite, b backup) {
			s.restore(append(b.children, b.nat)...)
			s.restore(b.mvm)
		}},
		"owner, then its children": {order: func(s *suite, b backup) {
			s.restore(b.mvm)
			s.restore(append(b.children, b.nat)...)
		}},
		"owner, then its children, without the operator": {stopped: true, kept: true, order: func(s *suite, b backup) {
			s.restore(b.mvm)
			s.restore(append(b.children, b.nat)...)
		}},
		"owner without its children": {order: func(s *suite, b backup) {
			s.restore(b.mvm, b.nat)
		}},
		"owner, then children of the deleted owner": {references: true, order: func(s *suite, b backup) {
			s.restore(b.mvm)
			s.restore(append(b.children, b.nat)...)
		}},
		"children of the deleted owner, then their owner": {references: true, order: func(s *suite, b backup) {
			s.restore(append(b.children, b.nat)...)
			s.restore(b.mvm)
		}},
		"owner, then children of the deleted owner, without the operator": {stopped: true, references: true, order: func(s *suite, b backup) {
			s.restore(b.mvm)
			s.restore(append(b.children, b.nat)...)
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			o := withPolicies(s.web())
			pod := s.converge(o)
			b := s.takeBackup(o, s.awaitNAT(pod), tc.references)
			s.deleteGuest(o, pod)

			// A field that KubeVirt added, and one that weakens the policy and is not in
			// the spec of the MeshedVirtualMachine.
			for _, u := range b.children {
				var err error
				switch u.GetKind() {
				case "VirtualMachine":
					err = unstructured.SetNestedField(u.Object, firmwareUUID, "spec", "template", "spec", "domain", "firmware", "uuid")
				case "PeerAuthentication":
					err = unstructured.SetNestedField(u.Object, "DISABLE", "spec", "portLevelMtls", "8080", "mode")
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if tc.stopped {
				s.stop()
			}
			tc.order(s, b)
			if tc.stopped {
				s.run(nil)
			}
			s.eventually("the MeshedVirtualMachine controls its children", func() error { return s.allOwned(o.Name) })
			s.eventually("the PodNATConfiguration of the deleted pod is deleted", func() error {
				_, err := s.read(children.PodNATConfigurationKind, b.nat.GetName())
				return gone(err)
			})
			vm, err := s.read(children.VirtualMachineKind, o.Name)
			if err != nil {
				t.Fatal(err)
			}
			uuid, _, _ := unstructured.NestedString(vm.Object, "spec", "template", "spec", "domain", "firmware", "uuid")
			if tc.kept && uuid != firmwareUUID {
				t.Errorf("the restored VirtualMachine was replaced: its firmware has UUID %q", uuid)
			}
			pa, err := s.read(children.PeerAuthenticationKind, o.Name)
			if err != nil {
				t.Fatal(err)
			}
			if mode, found, _ := unstructured.NestedString(pa.Object, "spec", "portLevelMtls", "8080", "mode"); found {
				t.Errorf("port 8080 has mutual TLS mode %s of the restored object", mode)
			}
			_, pod = s.startGuest(o.Name, "node-a")
			s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
			s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
		})
	}
}

// TestRestoreWithoutOwner checks that PodNATConfigurations without a pod and
// without a MeshedVirtualMachine are deleted although they have a finalizer,
// and that other objects are unchanged.
func TestRestoreWithoutOwner(t *testing.T) {
	for _, references := range []bool{false, true} {
		t.Run(fmt.Sprintf("references %t", references), func(t *testing.T) {
			s := start(t)
			o := s.web()
			pod := s.converge(o)
			b := s.takeBackup(o, s.awaitNAT(pod), references)
			s.deleteGuest(o, pod)
			s.restore(b.nat)
			s.eventually("the PodNATConfiguration is deleted", func() error {
				_, err := s.read(children.PodNATConfigurationKind, b.nat.GetName())
				return gone(err)
			})
			if references {
				return // The garbage collector deletes the others.
			}
			s.restore(b.children...)
			s.quiet()
			for _, u := range b.children {
				if live, err := s.read(u.GroupVersionKind(), o.Name); err != nil || len(live.GetOwnerReferences()) > 0 {
					t.Errorf("%s: %v, owners %v", u.GetKind(), err, live.GetOwnerReferences())
				}
			}
		})
	}
}

// orphan deletes a MeshedVirtualMachine without its children.
func (s *suite) orphan(o *v1alpha1.MeshedVirtualMachine) {
	s.Helper()
	if err := s.Delete(s.Context(), s.mvm(o.Name), client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		s.Fatal(err)
	}
	s.eventually("the MeshedVirtualMachine is deleted", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(o), o.DeepCopy()))
	})
}

// TestOrphanedGuest deletes a MeshedVirtualMachine without its children and
// creates it again. It must take over the running guest with its rules.
func TestOrphanedGuest(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	vm := s.awaitVM(o.Name)
	s.orphan(o)
	again := s.web()
	if err := s.Create(s.Context(), again); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if err := s.allOwned(o.Name); err != nil {
		t.Error(err)
	}
	if got := s.awaitVM(o.Name); got.UID != vm.UID {
		t.Error("the VirtualMachine was replaced")
	}
	got := s.awaitNAT(pod)
	if got.UID != nat.UID || !metav1.IsControlledBy(got, again) {
		t.Errorf("the PodNATConfiguration has UID %s instead of %s, and the owners %v", got.UID, nat.UID, got.OwnerReferences)
	}
}

// TestUnneededOrphans checks that an orphan that the spec does not need is
// deleted only if it has the name of a child. A copy with the same labels
// belongs to the user.
func TestUnneededOrphans(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	service, err := s.read(children.ServiceKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	route, err := s.read(children.VirtualServiceKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports = spec.Ports[1:2] })
	noRoute := func() error { _, err := s.read(children.VirtualServiceKind, o.Name); return gone(err) }
	s.eventually("a guest without mesh ports has no VirtualService", noRoute)
	twin := saved(service, false)
	twin.SetName("web-public")
	s.restore(twin, saved(route, false))
	s.eventually("the restored VirtualService is deleted", noRoute)
	if _, err := s.read(children.ServiceKind, twin.GetName()); err != nil {
		t.Errorf("the user's copy of the Service: %v", err)
	}
}

// TestNoAdoption lists objects that are not adopted.
func TestNoAdoption(t *testing.T) {
	owner := func(kind, api string, o client.Object) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: api, Kind: kind, Name: o.GetName(), UID: o.GetUID(), Controller: new(true)}}
	}
	tests := map[string]func(svc *corev1.Service, holder *corev1.ConfigMap, other *v1alpha1.MeshedVirtualMachine){
		"without labels": func(svc *corev1.Service, _ *corev1.ConfigMap, _ *v1alpha1.MeshedVirtualMachine) { svc.Labels = nil },
		"of another guest": func(svc *corev1.Service, _ *corev1.ConfigMap, _ *v1alpha1.MeshedVirtualMachine) {
			svc.Labels[v1alpha1.LabelMeshedVirtualMachine] = "other"
		},
		"of another manager": func(svc *corev1.Service, _ *corev1.ConfigMap, _ *v1alpha1.MeshedVirtualMachine) {
			svc.Labels[v1alpha1.LabelManagedBy] = "Helm"
		},
		"with another controller": func(svc *corev1.Service, holder *corev1.ConfigMap, _ *v1alpha1.MeshedVirtualMachine) {
			svc.OwnerReferences = owner("ConfigMap", "v1", holder)
		},
		"controlled by another guest": func(svc *corev1.Service, _ *corev1.ConfigMap, other *v1alpha1.MeshedVirtualMachine) {
			svc.OwnerReferences = owner("MeshedVirtualMachine", v1alpha1.GroupVersion.String(), other)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "holder"}}
			other := s.web()
			other.Name = "other"
			svc := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web", Labels: map[string]string{
					v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: "web",
				}},
				Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
			}
			if err := errors.Join(s.Create(s.Context(), holder), s.Create(s.Context(), other)); err != nil {
				t.Fatal(err)
			}
			change(svc, holder, other)
			if err := errors.Join(s.Create(s.Context(), svc), s.Create(s.Context(), s.web())); err != nil {
				t.Fatal(err)
			}
			got := s.awaitMVM("web", want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
			message := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionConflicted)).Message
			for _, advice := range []string{"delete", "remove"} {
				if strings.Contains(message, advice) {
					t.Errorf("the message recommends to %s an object: %s", advice, message)
				}
			}
			live := &corev1.Service{}
			if err := s.Get(s.Context(), client.ObjectKeyFromObject(svc), live); err != nil || live.ResourceVersion != svc.ResourceVersion {
				t.Errorf("the object was changed: %v", err)
			}
		})
	}
}
