// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Released returns a VirtualMachine without everything that only the operator sets, for a
// VirtualMachine that remains after the deletion of its MeshedVirtualMachine: the owner
// reference, the labels, annotations, start strategy and the ownership of fields. Without
// the labels, no other MeshedVirtualMachine adopts it, and its next pod has no start gate.
// The labels and annotations of Istio remain, and so does the spec, which the running guest
// has.
func Released(mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured) *unstructured.Unstructured {
	out := vm.DeepCopy()
	out.SetOwnerReferences(slices.DeleteFunc(out.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == mvm.UID }))
	out.SetManagedFields(withoutOurFields(out.GetManagedFields()))
	out.SetLabels(withoutOurs(out.GetLabels()))
	annotations := out.GetAnnotations()
	for _, key := range []string{v1alpha1.AnnotationAppliedDigest, v1alpha1.AnnotationOwnedEntries, v1alpha1.AnnotationInferredFrom, v1alpha1.AnnotationMatchers} {
		delete(annotations, key)
	}
	out.SetAnnotations(annotations)
	path := []string{"spec", "template", "metadata", "labels"}
	if labels, found, _ := unstructured.NestedStringMap(out.Object, path...); found {
		// The path consists of objects because it was found.
		_ = unstructured.SetNestedStringMap(out.Object, withoutOurs(labels), path...)
	}
	unstructured.RemoveNestedField(out.Object, "spec", "template", "metadata", "annotations", v1alpha1.AnnotationServiceAccount)
	start := []string{"spec", "template", "spec", "startStrategy"}
	template := mvm.Spec.VirtualMachine.Template
	if value, _, _ := unstructured.NestedString(out.Object, start...); value == string(kubevirtv1.StartStrategyPaused) && (template == nil || template.Spec.StartStrategy == nil) {
		unstructured.RemoveNestedField(out.Object, start...)
	}
	return out
}

// withoutOurs removes the labels that only the operator sets. A label managed-by with
// another value belongs to the user.
func withoutOurs(labels map[string]string) map[string]string {
	for _, key := range []string{v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, v1alpha1.LabelStartGate} {
		delete(labels, key)
	}
	if labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue {
		delete(labels, v1alpha1.LabelManagedBy)
	}
	return labels
}

// withoutOurFields removes the operator from the field managers, so that a later
// server-side apply of another client has no conflict. The API server keeps an empty list
// unchanged. One empty entry removes the managed fields (Kubernetes, Server-Side Apply,
// Clearing managedFields).
func withoutOurFields(managed []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	others := slices.DeleteFunc(managed, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == v1alpha1.FieldOwner })
	if len(managed) > 0 && len(others) == 0 {
		return []metav1.ManagedFieldsEntry{{}}
	}
	return others
}
