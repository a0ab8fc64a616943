// SPDX-License-Identifier: Apache-2.0

package children

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// matchers are the fields of a VirtualMachine whose value KubeVirt can infer from a
// volume.
var matchers = []string{"instancetype", "preference"}

// inferredFrom returns the volumes from which a spec infers its instancetype
// and its preference, or empty strings.
func inferredFrom(spec kubevirtv1.VirtualMachineSpec) string {
	instancetype, preference := "", ""
	if m := spec.Instancetype; m != nil {
		instancetype = m.InferFromVolume
	}
	if m := spec.Preference; m != nil {
		preference = m.InferFromVolume
	}
	if instancetype == "" && preference == "" {
		return ""
	}
	return instancetype + "/" + preference
}

// KeepInferred replaces the matchers of the desired VirtualMachine that infer
// from a volume with the matchers of the live one, in which KubeVirt's webhook
// has replaced inferFromVolume with a name and a kind (KubeVirt,
// pkg/instancetype/infer). The live matchers are kept until the spec names
// another volume, because the volume may no longer exist.
func KeepInferred(want, live *unstructured.Unstructured) {
	inferred := want.GetAnnotations()[v1alpha1.AnnotationInferredFrom]
	if inferred == "" || live == nil || live.GetAnnotations()[v1alpha1.AnnotationInferredFrom] != inferred {
		return
	}
	for _, field := range matchers {
		wanted, _, _ := unstructured.NestedMap(want.Object, "spec", field)
		stored, _, _ := unstructured.NestedMap(live.Object, "spec", field)
		if wanted["inferFromVolume"] == nil || stored["inferFromVolume"] != nil {
			continue
		}
		ignored := wanted["inferFromVolumeFailurePolicy"] == string(kubevirtv1.IgnoreInferFromVolumeFailure)
		switch {
		case len(stored) > 0:
			// The path consists of objects in every VirtualMachine.
			_ = unstructured.SetNestedField(want.Object, map[string]any{"name": stored["name"], "kind": stored["kind"]}, "spec", field)
		case ignored: // KubeVirt found no value and removed the matcher.
			unstructured.RemoveNestedField(want.Object, "spec", field)
		}
		memory := []string{"spec", "template", "spec", "domain", "memory"}
		if _, found, _ := unstructured.NestedFieldNoCopy(live.Object, memory...); field == "instancetype" && ignored && !found && len(stored) > 0 {
			// KubeVirt removes the memory if it finds an instancetype.
			unstructured.RemoveNestedField(want.Object, memory...)
		}
	}
}

// matchersOf returns the instancetype and the preference of a spec as text, or an empty
// string.
func matchersOf(spec kubevirtv1.VirtualMachineSpec) string {
	if spec.Instancetype == nil && spec.Preference == nil {
		return ""
	}
	// Structs of strings have no values that JSON cannot represent.
	text, _ := json.Marshal(struct {
		Instancetype *kubevirtv1.InstancetypeMatcher `json:"instancetype,omitempty"`
		Preference   *kubevirtv1.PreferenceMatcher   `json:"preference,omitempty"`
	}{spec.Instancetype, spec.Preference})
	return string(text)
}

// KeepExpanded removes the matchers of the desired VirtualMachine that KubeVirt has
// replaced with the fields of the instancetype and the preference, because KubeVirt rejects a
// VirtualMachine with both. With the reference policies expand and expandAll, KubeVirt
// replaces them after the VirtualMachine was created, and always writes the topology of the
// CPU (KubeVirt, pkg/instancetype/expand). The result applies until the spec names another
// instancetype or preference.
func KeepExpanded(want, live *unstructured.Unstructured) {
	applied := want.GetAnnotations()[v1alpha1.AnnotationMatchers]
	if applied == "" || live == nil || live.GetAnnotations()[v1alpha1.AnnotationMatchers] != applied {
		return
	}
	for _, field := range matchers {
		if _, found, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", field); found {
			return
		}
	}
	if _, found, _ := unstructured.NestedFieldNoCopy(live.Object, "spec", "template", "spec", "domain", "cpu"); !found {
		return // Another client has removed them.
	}
	for _, field := range matchers {
		unstructured.RemoveNestedField(want.Object, "spec", field)
	}
}
