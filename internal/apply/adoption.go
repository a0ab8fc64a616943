// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// FieldConflictError is the error of an existing VirtualMachine in which other clients own
// fields that the operator must set.
type FieldConflictError struct {
	// Fields are the paths of the fields with their managers, sorted.
	Fields []ManagedField
}

// ManagedField is a field and the client that owns it.
type ManagedField struct{ Path, Manager string }

// Error lists the fields.
func (c *FieldConflictError) Error() string {
	parts := make([]string, 0, len(c.Fields))
	for _, f := range c.Fields {
		parts = append(parts, fmt.Sprintf("%s (set by %s)", f.Path, f.Manager))
	}
	return "other clients own " + strings.Join(parts, ", ")
}

// Adopt applies the labels and annotations of the template of an existing VirtualMachine
// under a field owner that applies nothing else, and without force: a field that another
// client has set to another value is a FieldConflictError, and the VirtualMachine is unchanged.
// It returns the VirtualMachine as it is stored.
func (a Applier) Adopt(ctx context.Context, live *unstructured.Unstructured, want children.TemplateMetadata) (*unstructured.Unstructured, error) {
	metadata := map[string]any{}
	for field, values := range map[string]map[string]string{"labels": want.Labels, "annotations": want.Annotations} {
		if len(values) == 0 {
			continue
		}
		entries := map[string]any{}
		for key, value := range values {
			entries[key] = value
		}
		metadata[field] = entries
	}
	sent := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": metadata}}}}
	sent.SetGroupVersionKind(children.VirtualMachineKind)
	sent.SetNamespace(live.GetNamespace())
	sent.SetName(live.GetName())
	// Without the UID, the apply would create a VirtualMachine that was deleted meanwhile.
	sent.SetUID(live.GetUID())
	err := a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(sent), client.FieldOwner(v1alpha1.AdoptionFieldOwner))
	if conflict := fieldConflict(err); conflict != nil {
		return live, conflict
	}
	if err != nil {
		return live, fmt.Errorf("apply %s: %w", Describe(live), err)
	}
	logWrite(ctx, "Adopted object", live)
	return sent, nil
}

// fieldConflict returns the fields of a conflict of server-side apply, or nil (Kubernetes,
// k8s.io/apimachinery/pkg/util/managedfields/internal/conflict.go).
func fieldConflict(err error) *FieldConflictError {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	c := &FieldConflictError{}
	for _, cause := range status.Status().Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		manager := cause.Message
		if _, quoted, ok := strings.Cut(manager, `"`); ok {
			manager, _, _ = strings.Cut(quoted, `"`)
		}
		c.Fields = append(c.Fields, ManagedField{Path: strings.TrimPrefix(cause.Field, "."), Manager: manager})
	}
	if len(c.Fields) == 0 {
		return nil
	}
	slices.SortFunc(c.Fields, func(a, b ManagedField) int { return strings.Compare(a.Path+a.Manager, b.Path+b.Manager) })
	return c
}
