// SPDX-License-Identifier: Apache-2.0

package istiod_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/builders"

	"meshvm.io/meshvm/test/testenv"
)

// TestCookbook checks that the golden files, which TestCompiled compares with istiod,
// contain the configuration that the cookbook describes. Line breaks are not compared.
func TestCookbook(t *testing.T) {
	recipes, err := builders.Recipes(filepath.Join(testenv.Root(), "docs", "cookbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	for _, r := range recipes {
		golden, err := os.ReadFile(filepath.Join("testdata", r.File()))
		if err != nil {
			t.Fatal(err)
		}
		compiled := strings.Join(strings.Fields(string(golden)), " ")
		if len(r.Envoy) == 0 {
			t.Errorf("%s: nothing is compared with istiod: add a line \"Envoy\"", r.Title)
		}
		for _, part := range r.Envoy {
			parts++
			if !strings.Contains(compiled, part) {
				t.Errorf("%s: %s does not contain %q", r.Title, r.File(), part)
			}
		}
	}
	t.Logf("recipes: %d, compared parts of the configuration: %d", len(recipes), parts)
}
