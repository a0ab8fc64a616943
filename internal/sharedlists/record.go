// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
)

// hashDigits is the length of the hash of an entry. It only has to distinguish
// successive versions of one entry.
const hashDigits = 12

// owned is what the record contains of an entry.
type owned struct {
	// Hash is the hash of the entry of the spec that was applied last. Another hash
	// means that a user edited the entry since.
	Hash string `json:"hash"`
	// Fields are the fields of this entry, as a tree of names without values. A
	// field that the spec no longer has is removed. Fields that are not in the
	// tree belong to other clients.
	Fields fields `json:"fields,omitempty"`
}

// fields is a tree of field names. Lists within an entry are leaves.
type fields map[string]fields

// record lists the owned entries by list and name.
type record map[string]map[string]owned

// recordOf is the record of the entries of a spec. It depends on nothing else.
func recordOf(want map[string]any) record {
	r := record{}
	for _, l := range all {
		es, _ := l.entries(want)
		for _, e := range es {
			r.add(l.String(), l.nameOf(e), owned{Hash: hash(e), Fields: fieldsOf(e)})
		}
	}
	if value, found, _ := unstructured.NestedFieldNoCopy(want, strategy...); found {
		r.add(strategyName, "", owned{Hash: hash(value)})
	}
	return r
}

func (r record) add(list, name string, o owned) {
	if r[list] == nil {
		r[list] = map[string]owned{}
	}
	r[list][name] = o
}

// recorded reads the record of a live object; nil when it has none, or an unreadable
// one. Then no entry is known to be owned.
func recorded(live *unstructured.Unstructured) record {
	var r record
	if err := json.Unmarshal([]byte(live.GetAnnotations()[v1alpha1.AnnotationOwnedEntries]), &r); err != nil {
		return nil
	}
	return r
}

// edited reports whether a user edited an entry of the spec since it was applied. A
// spec without a record counts as not edited, so that nothing is overwritten for
// want of knowledge.
func (r record) edited(list, name, hash string) bool {
	return r != nil && r[list][name].Hash != hash
}

// store writes the record into an object.
func (r record) store(o *unstructured.Unstructured) {
	raw, err := json.Marshal(r)
	if err != nil {
		return // Maps of strings can be encoded.
	}
	setAnnotation(o, string(raw))
}

// setAnnotation sets the annotation of the record, or removes it when empty.
func setAnnotation(o *unstructured.Unstructured, value string) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	if value == "" {
		delete(annotations, v1alpha1.AnnotationOwnedEntries)
	} else {
		annotations[v1alpha1.AnnotationOwnedEntries] = value
	}
	o.SetAnnotations(annotations)
}

// hash is a hash of a JSON value.
func hash(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:hashDigits]
}

// fieldsOf is the tree of the fields of an entry.
func fieldsOf(e entry) fields {
	out := fields{}
	for k, v := range e {
		child, _ := v.(map[string]any)
		out[k] = fieldsOf(child)
	}
	return out
}
