// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestAdoptionOfOthers makes attempts to adopt VirtualMachines of others, and prints the
// reason of each refusal. The VirtualMachines are unchanged.
func TestAdoptionOfOthers(t *testing.T) {
	s := start(t)
	const theirs = "adoption-victim"
	s.makeNamespace(theirs)
	pool := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "pool"}}
	if err := s.Create(s.Context(), pool); err != nil {
		t.Fatal(err)
	}
	machine := func(namespace, name, adoptedBy string, owners ...metav1.OwnerReference) {
		vm := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(strings.Replace(existingVM, "METADATA", "metadata: "+injected, 1)), &vm.Object); err != nil {
			t.Fatal(err)
		}
		vm.SetNamespace(namespace)
		vm.SetName(name)
		vm.SetOwnerReferences(owners)
		if adoptedBy != "" {
			vm.SetAnnotations(map[string]string{v1alpha1.AnnotationAdoptedBy: adoptedBy})
		}
		if err := s.Create(s.Context(), vm); err != nil {
			t.Fatal(err)
		}
	}
	machine(theirs, "remote", "a-remote")
	s.Cleanup(func() {
		vm := cacheindex.Object(children.VirtualMachineKind)
		vm.SetNamespace(theirs)
		vm.SetName("remote")
		_ = s.Delete(context.WithoutCancel(s.Context()), vm)
	})
	machine(s.namespace, "pooled", "a-pooled", *metav1.NewControllerRef(pool, corev1.SchemeGroupVersion.WithKind("ConfigMap")))
	machine(s.namespace, "private", "")
	machine(s.namespace, "promised", "another")
	machine(s.namespace, "shared", "first")
	web := s.web()
	first := s.adopter("first")
	first.Spec.ExistingVirtualMachine.Name = "shared"
	for _, o := range []client.Object{web, first} {
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitVM(web.Name)
	s.awaitMVM(first.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
	text := func(namespace, name string) string {
		vm := cacheindex.Object(children.VirtualMachineKind)
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: namespace, Name: name}, vm); err != nil {
			t.Fatal(err)
		}
		spec, err := json.Marshal(vm.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		return string(spec)
	}
	for _, tc := range []struct {
		what, name, vm string
		reason         v1alpha1.ConditionReason
	}{
		{"the VirtualMachine of another namespace", "a-remote", "remote", v1alpha1.ReasonVirtualMachineNotFound},
		{"a VirtualMachine that another object controls", "a-pooled", "pooled", v1alpha1.ReasonVirtualMachineConflict},
		{"a VirtualMachine that the operator created", "a-web", web.Name, v1alpha1.ReasonVirtualMachineConflict},
		{"a VirtualMachine that an older object adopts", "second", "shared", v1alpha1.ReasonVirtualMachineConflict},
		{"a VirtualMachine without consent", "a-private", "private", v1alpha1.ReasonConsentMissing},
		{"a VirtualMachine with consent for another object", "a-promised", "promised", v1alpha1.ReasonConsentMissing},
	} {
		t.Run(strings.ReplaceAll(tc.what, " ", "_"), func(t *testing.T) {
			sub := *s
			sub.T = t
			namespace := s.namespace
			if tc.vm == "remote" {
				namespace = theirs
			}
			before := text(namespace, tc.vm)
			o := s.adopter(tc.name)
			o.Spec.ExistingVirtualMachine.Name = tc.vm
			if err := s.Create(s.Context(), o); err != nil {
				t.Fatal(err)
			}
			sub.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, no, tc.reason}, want{v1alpha1.ConditionAccepted, no, tc.reason})
			t.Logf("refused: %s: %s", tc.reason, sub.adoptedMessage(o.Name))
			if after := text(namespace, tc.vm); after != before {
				t.Errorf("the VirtualMachine was\n%s\nand is now\n%s", before, after)
			}
			if err := sub.absent(children.ServiceKind, o.Name); err != nil {
				t.Error(err)
			}
		})
	}
	for field, value := range map[string]map[string]any{
		"spec.existingVirtualMachine.name": {"name": theirs + "/remote"}, `unknown field "spec.existingVirtualMachine.namespace"`: {"name": "remote", "namespace": theirs},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"existingVirtualMachine": value}}}
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(children.OwnerKind))
		o.SetNamespace(s.namespace)
		o.SetName("other")
		err := s.Create(s.Context(), o)
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("the API server did not reject %v: %v", value, err)
		}
		t.Logf("rejected: %v", err)
	}

	// The annotation is sufficient. The operator notices it without a retry.
	s.atRest()
	s.consent("private", "a-private")
	s.awaitMVM("a-private", want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})

	// An older object without consent does not prevent the adoption. If the consent changes,
	// the object that adopts keeps the VirtualMachine until it is deleted.
	another := s.adopter("another")
	another.Spec.ExistingVirtualMachine.Name = "promised"
	if err := s.Create(s.Context(), another); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(another.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
	s.consent("promised", "a-promised")
	s.awaitMVM(another.Name, want{v1alpha1.ConditionAdopted, no, v1alpha1.ReasonConsentMissing})
	s.awaitMVM("a-promised", want{v1alpha1.ConditionAdopted, no, v1alpha1.ReasonVirtualMachineConflict})
	if err := s.Delete(s.Context(), another); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("a-promised", want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
}

// consent permits a MeshedVirtualMachine to adopt a VirtualMachine.
func (s *suite) consent(vm, adopter string) {
	s.Helper()
	o := cacheindex.Object(children.VirtualMachineKind)
	o.SetNamespace(s.namespace)
	o.SetName(vm)
	text := `{"metadata":{"annotations":{"` + v1alpha1.AnnotationAdoptedBy + `":"` + adopter + `"}}}`
	if err := s.Patch(s.Context(), o, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		s.Fatal(err)
	}
}

// TestAdoptionNeedsPermission makes attempts to adopt a VirtualMachine, and to change how it
// is adopted, with and without the permission to update it.
func TestAdoptionNeedsPermission(t *testing.T) {
	s := start(t, byPolicy)
	s.installRBAC("aggregate_edit.yaml", "aggregate_view.yaml")
	s.install("config/adoption/policy.yaml")
	s.createExisting("metadata: " + injected)
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "db"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"kubevirt.io"}, Resources: []string{"virtualmachines"}, ResourceNames: []string{"db"}, Verbs: []string{"update"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "db"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "operator-of-db"}},
	}
	for _, o := range []client.Object{role, binding} {
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	without, with := s.tenant("other", "meshvm-edit", "meshvm-view"), s.tenant("operator-of-db", "meshvm-edit", "meshvm-view")
	const message = "user other may not update VirtualMachine db"
	refused := func(what string, attempt func() error) {
		t.Helper()
		s.eventually(what+" is refused", func() error {
			err := attempt()
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), message) {
				return fmt.Errorf("got: %w", err)
			}
			t.Logf("%s: %v", what, err)
			return nil
		})
	}
	o := s.adopter("database")
	refused("a creation", func() error { return without.Create(s.Context(), o.DeepCopy(), client.DryRunAll) })
	another := o.DeepCopy()
	another.Spec.ExistingVirtualMachine.Name = "another"
	if err := with.Create(s.Context(), another, client.DryRunAll); !apierrors.IsForbidden(err) {
		t.Errorf("a user who may update db adopted another VirtualMachine: %v", err)
	}
	s.eventually("a user who may update the VirtualMachine adopts it", func() error { return with.Create(s.Context(), o.DeepCopy()) })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
	patch := func(c client.Client, text string) error {
		return c.Patch(s.Context(), s.mvm(o.Name), client.RawPatch(types.MergePatchType, []byte(text)), client.DryRunAll)
	}
	refused("a change of the ports", func() error { return patch(without, `{"spec":{"ports":[]}}`) })
	if err := patch(with, `{"spec":{"ports":[]}}`); err != nil {
		t.Error(err)
	}
	// Metadata does not affect the VirtualMachine.
	if err := patch(without, `{"metadata":{"labels":{"a":"b"}}}`); err != nil {
		t.Error(err)
	}
	web := s.web()
	if err := without.Create(s.Context(), web, client.DryRunAll); err != nil {
		t.Errorf("a VirtualMachine that the operator creates: %v", err)
	}
}
