// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
)

// hashDigits is the length of the hash of an entry. It only has to distinguish
// successive versions of one entry.
const hashDigits = 12

// owned is the record of one entry.
type owned struct {
	// Hash is the hash of the entry of the spec that was applied last. Earlier
	// versions of the operator recorded no subject.
	Hash string `json:"hash"`
	// Subject is the part of the entry that other clients may change, as the spec
	// named it. Another subject in the spec means that a user has edited it since then.
	Subject string `json:"subject,omitempty"`
	// Removable is set when KubeVirt can remove the entry from a running guest, so that
	// its absence is intended.
	Removable bool `json:"removable,omitempty"`
	// Fields are the fields of this entry, as a tree of names without values. A
	// field that the spec no longer has is removed. Fields that are not in the
	// tree belong to other clients.
	Fields fields `json:"fields,omitempty"`
}

// fields is a tree of field names. Lists within an entry are leaves.
type fields map[string]fields

// record lists the owned entries by list and name.
type record map[string]map[string]owned

// recordOf returns the record of the entries of a spec.
func recordOf(want map[string]any) record {
	r := record{}
	for _, l := range all {
		es, _ := l.entries(want)
		for _, e := range es {
			o := owned{Hash: hash(e), Fields: fieldsOf(e)}
			if l.subject != nil {
				o.Subject = l.subject(e)
			}
			o.Removable = l.removable != nil && l.removable(want, e)
			r.set(l.String(), l.nameOf(e), o)
		}
	}
	if value, found, _ := unstructured.NestedFieldNoCopy(want, strategy...); found {
		r.set(strategyName, "", owned{Hash: hash(value), Subject: fmt.Sprint(value)})
	}
	return r
}

func (r record) set(list, name string, o owned) {
	if r[list] == nil {
		r[list] = map[string]owned{}
	}
	r[list][name] = o
}

// setRemovable records that KubeVirt can remove an entry, although the spec does not
// show it.
func (r record) setRemovable(l list, name string) {
	if o, ok := r[l.String()][name]; ok {
		o.Removable = true
		r.set(l.String(), name, o)
	}
}

// recorded returns the record of a live object. It returns nil if the object
// does not have a readable record, so that no entry is considered owned.
func recorded(live *unstructured.Unstructured) record {
	var r record
	if err := json.Unmarshal([]byte(live.GetAnnotations()[v1alpha1.AnnotationOwnedEntries]), &r); err != nil {
		return nil
	}
	return r
}

// edited reports whether a user edited the subject of an entry of the spec since it
// was applied, and whether the records show this. They do not show it for an object
// without a record, and for an edited entry in the record of an earlier version.
func edited(was, wanted record, list, name string) (edited, known bool) {
	before, now := was[list][name], wanted[list][name]
	switch {
	case was == nil:
		return false, false
	case before.Hash == "": // The entry is new in the spec.
		return true, true
	case before.Subject != "":
		return before.Subject != now.Subject, true
	default:
		return false, before.Hash == now.Hash
	}
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

// hash returns a hash of a JSON value.
func hash(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:hashDigits]
}

// fieldsOf returns the tree of the fields of an entry.
func fieldsOf(e entry) fields {
	out := fields{}
	for k, v := range e {
		child, _ := v.(map[string]any)
		out[k] = fieldsOf(child)
	}
	return out
}
