// SPDX-License-Identifier: Apache-2.0

package children

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TemplateMetadata contains labels and annotations of the template of a VirtualMachine.
type TemplateMetadata struct {
	Labels, Annotations map[string]string
}

// Equal reports whether both contain the same labels and annotations.
func (m TemplateMetadata) Equal(other TemplateMetadata) bool {
	return maps.Equal(m.Labels, other.Labels) && maps.Equal(m.Annotations, other.Annotations)
}

// Adoption returns the labels and annotations that the operator adds to the template of an
// existing VirtualMachine, so that pods that start later get the sidecar, the gate and the
// labels of the mesh. template is the template without those that the operator has added
// (WithoutAdoption). A key that already has the desired value is left to its owner.
//
// The operator does not change the start strategy of an existing VirtualMachine, so the
// start gate Pause does not delay its guest. It does not add the label app, which only names
// the workload in the telemetry.
func Adoption(in Input, template *kubevirtv1.VirtualMachineInstanceTemplateSpec) TemplateMetadata {
	wanted := template.DeepCopy()
	requestMesh(in, wanted)
	return TemplateMetadata{
		Labels:      difference(wanted.ObjectMeta.Labels, template.ObjectMeta.Labels),
		Annotations: difference(wanted.ObjectMeta.Annotations, template.ObjectMeta.Annotations),
	}
}

// difference returns the entries of wanted that has does not contain.
func difference(wanted, has map[string]string) map[string]string {
	out := map[string]string{}
	for key, value := range wanted {
		if v, ok := has[key]; !ok || v != value {
			out[key] = value
		}
	}
	return out
}

// templateFields are the fields of the metadata of the template in an entry of managed
// fields (Kubernetes, Server-Side Apply, FieldsV1).
type templateFields struct {
	Spec struct {
		Template struct {
			Metadata *struct {
				Labels      map[string]json.RawMessage `json:"f:labels"`
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		} `json:"f:template"`
	} `json:"f:spec"`
}

func fieldsOf(e metav1.ManagedFieldsEntry) templateFields {
	var f templateFields
	if e.FieldsV1 != nil {
		_ = json.Unmarshal(e.FieldsV1.GetRawBytes(), &f) // The API server writes it.
	}
	return f
}

// managers are the managers of the metadata of a template: the operator with its keys, and
// the others, which may own the same keys.
type managers struct {
	ours, others          TemplateMetadata
	ownsLabels, ownsNotes bool
	ownsMetadata          bool
}

func managersOf(vm *unstructured.Unstructured) managers {
	empty := func() TemplateMetadata {
		return TemplateMetadata{Labels: map[string]string{}, Annotations: map[string]string{}}
	}
	m := managers{ours: empty(), others: empty()}
	for _, e := range vm.GetManagedFields() {
		f := fieldsOf(e).Spec.Template.Metadata
		if f == nil {
			continue
		}
		into := &m.others
		if e.Manager == v1alpha1.AdoptionFieldOwner {
			into = &m.ours
		} else {
			m.ownsMetadata = true
			m.ownsLabels = m.ownsLabels || f.Labels != nil
			m.ownsNotes = m.ownsNotes || f.Annotations != nil
		}
		for _, list := range []struct {
			fields map[string]json.RawMessage
			keys   map[string]string
		}{{f.Labels, into.Labels}, {f.Annotations, into.Annotations}} {
			for field := range list.fields {
				if key, ok := strings.CutPrefix(field, "f:"); ok {
					list.keys[key] = ""
				}
			}
		}
	}
	return m
}

// Adopted returns the labels and annotations of the template that the operator owns, with
// their values. vm must have its managed fields. Labels that only the operator sets are its
// own also without managed fields, as after a restore.
func Adopted(vm *unstructured.Unstructured) TemplateMetadata {
	m := managersOf(vm)
	own := func(has, ours, others map[string]string, always []string) map[string]string {
		out := map[string]string{}
		for key, value := range has {
			_, owned := ours[key]
			_, shared := others[key]
			if owned && !shared || slices.Contains(always, key) {
				out[key] = value
			}
		}
		return out
	}
	return TemplateMetadata{
		Labels: own(templateMap(vm, "labels"), m.ours.Labels, m.others.Labels,
			[]string{v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, v1alpha1.LabelStartGate}),
		Annotations: own(templateMap(vm, "annotations"), m.ours.Annotations, m.others.Annotations, nil),
	}
}

// ownedByAdoption returns the keys that the managed fields attribute to the operator.
func ownedByAdoption(vm *unstructured.Unstructured) (labels, annotations map[string]string) {
	m := managersOf(vm)
	return m.ours.Labels, m.ours.Annotations
}

// HoldsAdoption reports whether the operator owns exactly the desired labels and
// annotations, and they have the desired values.
func HoldsAdoption(vm *unstructured.Unstructured, want TemplateMetadata) bool {
	labels, annotations := ownedByAdoption(vm)
	holds := func(has, owned, want map[string]string) bool {
		if len(owned) != len(want) {
			return false
		}
		for key, value := range want {
			if _, ok := owned[key]; !ok || has[key] != value {
				return false
			}
		}
		return true
	}
	return holds(templateMap(vm, "labels"), labels, want.Labels) && holds(templateMap(vm, "annotations"), annotations, want.Annotations)
}

// WithoutAdoption returns an existing VirtualMachine as it is without the labels and
// annotations that the operator added: without the keys that only the operator owns, without
// maps that are empty and that no other client has set, and without the operator's entry in
// the managed fields. vm must have its managed fields.
func WithoutAdoption(vm *unstructured.Unstructured) *unstructured.Unstructured {
	out := vm.DeepCopy()
	own, m := Adopted(vm), managersOf(vm)
	path := []string{"spec", "template", "metadata"}
	for _, list := range []struct {
		field string
		own   map[string]string
		kept  bool
	}{{"labels", own.Labels, m.ownsLabels}, {"annotations", own.Annotations, m.ownsNotes}} {
		at := append(slices.Clone(path), list.field)
		values, found, _ := unstructured.NestedMap(out.Object, at...)
		if !found || len(list.own) == 0 {
			continue
		}
		maps.DeleteFunc(values, func(key string, _ any) bool { _, ok := list.own[key]; return ok })
		if len(values) == 0 && !list.kept {
			unstructured.RemoveNestedField(out.Object, at...)
			continue
		}
		_ = unstructured.SetNestedMap(out.Object, values, at...) // The path consists of objects.
	}
	if metadata, found, _ := unstructured.NestedMap(out.Object, path...); found && len(metadata) == 0 && !m.ownsMetadata {
		unstructured.RemoveNestedField(out.Object, path...)
	}
	out.SetManagedFields(slices.DeleteFunc(out.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == v1alpha1.AdoptionFieldOwner }))
	return out
}

func templateMap(vm *unstructured.Unstructured, field string) map[string]string {
	values, _, _ := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", field)
	return values
}
