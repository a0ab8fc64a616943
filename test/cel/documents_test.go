// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
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
				if err := validate.Spec(mvm); err != nil {
					t.Errorf("rejected by the operator: %v", err)
				}
			}
			if found == 0 {
				t.Error("no MeshedVirtualMachine in the document")
			}
		})
	}
}
