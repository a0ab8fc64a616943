// SPDX-License-Identifier: Apache-2.0

package children

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// runFields are the fields of a VirtualMachine that specify whether it runs. KubeVirt
// requires exactly one of them.
var runFields = []string{"runStrategy", "running"}

// KeepRunStrategy completes a desired VirtualMachine whose spec leaves out the run
// strategy. A new VirtualMachine runs always. Afterwards other clients, for example
// virtctl, decide. The value of the live VirtualMachine is repeated only while the
// operator is its field manager, because server-side apply would remove it otherwise.
func KeepRunStrategy(want, live *unstructured.Unstructured) {
	spec := nestedMap(want.Object, "spec")
	if slices.ContainsFunc(runFields, func(f string) bool { return spec[f] != nil }) {
		return
	}
	if live == nil {
		spec["runStrategy"] = string(kubevirtv1.RunStrategyAlways)
		return
	}
	current := nestedMap(live.Object, "spec")
	for _, f := range runFields {
		if current[f] != nil && applies(live.GetManagedFields(), "f:"+f) {
			spec[f] = current[f]
		}
	}
}

// applies reports whether the operator is a field manager of a field of the spec.
func applies(managed []metav1.ManagedFieldsEntry, field string) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool {
		if e.Manager != v1alpha1.FieldOwner || e.Operation != metav1.ManagedFieldsOperationApply || e.FieldsV1 == nil {
			return false
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		return json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) == nil && fields.Spec[field] != nil
	})
}

func nestedMap(o map[string]any, field string) map[string]any {
	m, _ := o[field].(map[string]any)
	return m
}
