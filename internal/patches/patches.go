// SPDX-License-Identifier: Apache-2.0

// Package patches applies the patches of a spec to the objects that the operator creates,
// and refuses those that violate its limits. It is pure.
package patches

import (
	stdjson "encoding/json"
	"fmt"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxSize is the size of the largest patched object, in bytes.
const maxSize = 256 * 1024

// Refused is the refusal of a patch.
type Refused struct { //nolint:errname // As validate.Invalid, callers read the fields first.
	// Index is the index of the patch in spec.patches.
	Index int
	// Path is the JSON pointer of the field of the object, empty if the patch cannot be
	// applied.
	Path string
	// Message describes the problem and its resolution.
	Message string
}

// Error names the patch, the field of the object and the problem.
func (r *Refused) Error() string {
	if r.Path == "" {
		return fmt.Sprintf("spec.patches[%d]: %s", r.Index, r.Message)
	}
	return fmt.Sprintf("spec.patches[%d]: %s: %s", r.Index, r.Path, r.Message)
}

// Object is an object with its kind set.
type Object interface {
	metav1.Object
	runtime.Object
}

// Apply returns the object with the patches of its kind, or the refusal of the first patch
// that violates a limit. Without a patch for the object, it returns the object. Objects named
// NAME.PART have no patches. The domain is the DNS domain of the cluster.
func Apply(list []v1alpha1.Patch, o Object, domain string) (Object, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	var before, now map[string]any
	for i, p := range list {
		if string(p.Target) != kind || strings.Contains(o.GetName(), ".") {
			continue
		}
		if before == nil {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				return nil, fmt.Errorf("convert %s %s: %w", kind, o.GetName(), err)
			}
			before, now = content, content
		}
		after, err := patched(p, now)
		if err != nil {
			return nil, &Refused{Index: i, Message: fmt.Sprintf("cannot be applied to %s %s: %v: correct the patch", kind, o.GetName(), err)}
		}
		if path, problem := violation(before, after, limits{kind, o.GetNamespace(), domain}); problem != "" {
			return nil, &Refused{Index: i, Path: path, Message: problem}
		}
		now = after
		if problem := rejectedByIstio(&unstructured.Unstructured{Object: now}); problem != "" {
			return nil, &Refused{Index: i, Message: fmt.Sprintf("Istio rejects the patched %s %s: %s: correct the patch", kind, o.GetName(), problem)}
		}
	}
	if now == nil {
		return o, nil
	}
	return &unstructured.Unstructured{Object: now}, nil
}

// patched returns a copy of an object with one patch.
func patched(p v1alpha1.Patch, object map[string]any) (map[string]any, error) {
	raw, err := stdjson.Marshal(object)
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller names the object.
	}
	if p.Merge != nil {
		raw, err = jsonpatch.MergePatch(raw, p.Merge.Raw)
	} else {
		raw, err = operations(p.JSON, raw)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller names the object.
	}
	if len(raw) > maxSize {
		return nil, fmt.Errorf("the patched object has %d bytes, at most %d are permitted", len(raw), maxSize)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("the result is not an object: %w", err)
	}
	return out, nil
}

func operations(list []v1alpha1.PatchOperation, object []byte) ([]byte, error) {
	var patch jsonpatch.Patch
	for _, op := range list {
		operation := jsonpatch.Operation{}
		fields := map[string]any{"op": op.Op, "path": op.Path}
		if op.From != "" {
			fields["from"] = op.From
		}
		if op.Value != nil {
			fields["value"] = stdjson.RawMessage(op.Value.Raw)
		}
		for name, value := range fields {
			raw, err := stdjson.Marshal(value)
			if err != nil {
				return nil, err //nolint:wrapcheck // The caller names the object.
			}
			operation[name] = new(stdjson.RawMessage(raw))
		}
		patch = append(patch, operation)
	}
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxSize
	return patch.ApplyWithOptions(object, options) //nolint:wrapcheck // The caller names the object.
}
