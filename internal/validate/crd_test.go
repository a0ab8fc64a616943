// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/internal/validate"
)

// TestCopiesOfTheCRD compares the patterns, limits and enumerations of this package with
// those of the generated CRD, which follow from markers in api/v1alpha1 and from
// hack/tools/crdgen.
func TestCopiesOfTheCRD(t *testing.T) {
	crd := readCRD(t)
	for field, pattern := range validate.Patterns {
		if got := schemaOf(t, crd, field)["pattern"]; got != pattern.String() {
			t.Errorf("%s has pattern %v in the CRD and %s in this package", field, got, pattern)
		}
	}
	for limit, want := range validate.Limits {
		field, keyword, _ := strings.Cut(limit, " ")
		if got := schemaOf(t, crd, field)[keyword]; got != float64(want) {
			t.Errorf("%s has %s %v in the CRD and %d in this package", field, keyword, got, want)
		}
	}
	for field, want := range validate.Enumerations() {
		values, _ := schemaOf(t, crd, field)["enum"].([]any)
		var got []string
		for _, v := range values {
			text, _ := v.(string)
			got = append(got, text)
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("%s has the values %v in the CRD and %v in this package", field, got, want)
		}
	}
	rules := validations(crd)
	if !slices.ContainsFunc(rules, func(r map[string]any) bool {
		text, _ := r["rule"].(string)
		return strings.Contains(text, validate.Patterns["spec.service.name"].String()) && strings.HasPrefix(text, "self.metadata.name")
	}) {
		t.Error("no rule of the CRD compares metadata.name with the pattern of spec.service.name")
	}
}

// readCRD returns the generated CRD of MeshedVirtualMachine.
func readCRD(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "meshvm.io_meshedvirtualmachines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// schemaOf returns the schema of a field, for example "spec.ports[].name".
func schemaOf(t *testing.T, crd map[string]any, field string) map[string]any {
	t.Helper()
	spec, _ := crd["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	version, _ := versions[0].(map[string]any)
	schema, _ := version["schema"].(map[string]any)
	node, _ := schema["openAPIV3Schema"].(map[string]any)
	for name := range strings.SplitSeq(field, ".") {
		name, items := strings.CutSuffix(name, "[]")
		properties, _ := node["properties"].(map[string]any)
		node, _ = properties[name].(map[string]any)
		if items {
			node, _ = node["items"].(map[string]any)
		}
	}
	if node == nil {
		t.Fatalf("the CRD has no field %s", field)
	}
	return node
}
