// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

func managedBy(manager, subresource, tree string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(tree)}
}

func TestDescribe(t *testing.T) {
	const owned = `{"f:spec":{"f:template":{"f:spec":{"f:volumes":{}}}}}`
	managed := []metav1.ManagedFieldsEntry{
		managedBy("virt-controller", "", owned),
		managedBy("kubectl-edit", "", owned),
		managedBy("kubectl-edit", "", owned),
		managedBy("status-writer", "status", owned),
		managedBy(v1alpha1.FieldOwner, "", owned),
		managedBy("unrelated", "", `{"f:spec":{"f:template":{"f:spec":{"f:networks":{}}}}}`),
		managedBy("broken", "", `{`),
	}
	added := Difference{Path: volumes.path, Name: "x", Change: "was added"}
	tests := map[string]struct {
		difference Difference
		managed    []metav1.ManagedFieldsEntry
		want       string
	}{
		"managers":         {added, managed, "spec.template.spec.volumes[x] was added (field manager kubectl-edit, virt-controller)"},
		"unknown managers": {added, nil, "spec.template.spec.volumes[x] was added"},
		"a field":          {Difference{Path: strategy, Change: "was changed"}, managed, "spec.updateVolumesStrategy was changed"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.difference.Describe(tc.managed); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
