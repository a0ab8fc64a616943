// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/internal/children"
)

// TestPermissionsOfEveryKind fails if a kind of the table does not have a
// kubebuilder RBAC marker, or if "make manifests" was not run after a marker
// was added. A kind that is never pruned must not have the verb delete.
func TestPermissionsOfEveryKind(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(text, &role); err != nil {
		t.Fatal(err)
	}
	for _, kind := range children.Kinds() {
		resource, _ := meta.UnsafeGuessKindToResource(kind.GroupVersionKind)
		var verbs []string
		for _, rule := range role.Rules {
			if slices.Contains(rule.APIGroups, kind.Group) && slices.Contains(rule.Resources, resource.Resource) {
				verbs = append(verbs, rule.Verbs...)
			}
		}
		want := []string{"get", "list", "watch", "create", "patch"}
		if !kind.Retained {
			want = append(want, "delete")
		}
		for _, verb := range want {
			if !slices.Contains(verbs, verb) {
				t.Errorf("the manager lacks the verb %s for %s: add the marker in controllers/meshedvirtualmachine/setup.go and run make manifests", verb, resource.GroupResource())
			}
		}
		if kind.Retained && slices.Contains(verbs, "delete") {
			t.Errorf("the manager may delete %s, which it never prunes", resource.GroupResource())
		}
	}
}
