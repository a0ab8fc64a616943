// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentedMachines checks that the API server and the operator accept each
// MeshedVirtualMachine in the documentation.
func TestDocumentedMachines(t *testing.T) {
	env := shared.Get(t)
	for _, file := range []string{"README.md", "docs/using.md", "docs/cookbook.md"} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(testenv.Root(), file))
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			var documents []string
			for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
				documents = append(documents, strings.Split(block[1], "\n---\n")...)
			}
			for _, document := range documents {
				if !strings.Contains(document, "kind: MeshedVirtualMachine") {
					continue
				}
				found++
				u := object(t, document, nil)
				u.SetNamespace("default")
				if err := env.Client.Create(t.Context(), u, client.DryRunAll); err != nil {
					t.Fatalf("rejected by the API server: %v", err)
				}
				mvm := &v1alpha1.MeshedVirtualMachine{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, mvm); err != nil {
					t.Fatal(err)
				}
				if err := validate.SpecIn(validate.Cluster{Patches: configv1alpha1.Enabled}, mvm); err != nil {
					t.Errorf("rejected by the operator: %v", err)
				}
			}
			if found == 0 {
				t.Error("no MeshedVirtualMachine in the document")
			}
		})
	}
}

// TestReadmeIsShort limits the lines of the objects in the README: the first one, and the
// canary pair.
func TestReadmeIsShort(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of YAML, want one machine and one canary pair", len(blocks))
	}
	for i, want := range []struct{ machines, lines int }{{1, 15}, {2, 25}} {
		machines, lines := strings.Count(blocks[i][1], "kind: MeshedVirtualMachine"), strings.Count(blocks[i][1], "\n")
		if machines != want.machines || lines > want.lines {
			t.Errorf("block %d contains %d machines in %d lines, want %d in at most %d", i+1, machines, lines, want.machines, want.lines)
		}
		t.Logf("block %d: %d lines", i+1, lines)
	}
}
