// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Intent returns the object as it is sent with server-side apply: without
// status, without fields that only the server sets, without null values, and
// with the annotation that contains its digest.
func Intent(o Object) (*unstructured.Unstructured, error) {
	if o.GetObjectKind().GroupVersionKind().Empty() {
		return nil, fmt.Errorf("apply %T %s: its kind is not set", o, o.GetName())
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", Describe(o), err)
	}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(u.Object, "status")
	for _, f := range []string{"creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", f)
	}
	u.Object, _ = withoutNulls(u.Object).(map[string]any)
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", Describe(o), err)
	}
	sum := sha256.Sum256(raw)
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationAppliedDigest] = hex.EncodeToString(sum[:])
	u.SetAnnotations(annotations)
	return u, nil
}

// withoutNulls removes null values. Go types without omitempty write them for
// unset fields (metadata.creationTimestamp), and the operator would own these
// fields.
func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
				continue
			}
			v[k] = withoutNulls(e)
		}
	case []any:
		for i, e := range v {
			v[i] = withoutNulls(e)
		}
	}
	return v
}

// Holds reports whether the live object has every field of want. Fields that
// want does not name may have any value: defaults of the server, and fields of
// other field managers, unless the spec is exclusive. want contains its digest, so a field that an earlier
// intent contained and this intent does not contain is a difference.
func Holds(live, want *unstructured.Unstructured) bool {
	return holds(live.Object, want.Object, isOfIstio(want)) && holdsSpec(live, want)
}

// isOfIstio reports whether an object is of a kind of Istio. An empty message in such
// an object has a meaning, for example "retries: {}" for no retries, and the API
// server stores it.
func isOfIstio(o *unstructured.Unstructured) bool {
	return strings.HasSuffix(o.GroupVersionKind().Group, ".istio.io")
}

// holds compares values. storesEmpty is set if the server stores empty objects, so that
// a missing one is a difference.
func holds(live, want any, storesEmpty bool) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			// An empty object that the server does not store.
			return live == nil && len(w) == 0 && !storesEmpty
		}
		for k, e := range w {
			if k == "ownerReferences" && hasAll(l[k], e) {
				continue
			}
			if !holds(l[k], e, storesEmpty) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(w) {
			return live == nil && len(w) == 0
		}
		for i := range w {
			if !holds(l[i], w[i], storesEmpty) {
				return false
			}
		}
		return true
	default:
		return equality.Semantic.DeepEqual(number(live), number(want))
	}
}

// hasAll reports whether the live list contains every desired element, in any
// order, because other controllers may add owners to an object.
func hasAll(live, want any) bool {
	l, _ := live.([]any)
	w, _ := want.([]any)
	for _, e := range w {
		if !slices.ContainsFunc(l, func(c any) bool { return holds(c, e, false) }) {
			return false
		}
	}
	return true
}

// number makes integers comparable, because JSON decoders return int64 or
// float64.
func number(v any) any {
	switch n := v.(type) {
	case int:
		return float64(n)
	case int32:
		return float64(n)
	case int64:
		return float64(n)
	default:
		return v
	}
}

// listPatch returns the JSON merge patch (RFC 7386) that sets the lists in
// which live differs from want, or nil if no list differs. It does not change
// owner references and finalizers, because other clients may add entries.
func listPatch(live, want map[string]any) map[string]any {
	var patch map[string]any
	set := func(k string, v any) {
		if patch == nil {
			patch = map[string]any{}
		}
		patch[k] = v
	}
	for k, w := range want {
		switch w := w.(type) {
		case map[string]any:
			l, ok := live[k].(map[string]any)
			if !ok || k == "metadata" {
				continue
			}
			if p := listPatch(l, w); p != nil {
				set(k, p)
			}
		case []any:
			if !holds(live[k], w, false) {
				set(k, w)
			}
		}
	}
	return patch
}
