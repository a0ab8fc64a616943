// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"meshvm.io/meshvm/test/testenv"
)

// TestVirtualMachineSchemaEqualsKubeVirt checks that spec.virtualMachine has the schema of
// the CRD that virt-operator creates. KubeVirt's API module can be newer than the
// release of that CRD: fields that exist only in meshvm's CRD are logged, fields
// that exist only in KubeVirt's CRD are a failure.
func TestVirtualMachineSchemaEqualsKubeVirt(t *testing.T) {
	ours := schemas(t, "config/crd/bases/meshvm.io_meshedvirtualmachines.yaml", "spec", "virtualMachine")
	theirs := schemas(t, "test/upstream/kubevirt/crds/virtualmachine.yaml", "spec")
	if len(theirs) < 500 {
		t.Fatalf("KubeVirt's CRD has only %d schemas", len(theirs))
	}
	shared := 0
	for _, path := range sortedKeys(theirs) {
		own, ok := ours[path]
		if !ok {
			t.Errorf("%s exists only in KubeVirt", path)
			continue
		}
		shared++
		if diff := cmp.Diff(theirs[path], own); diff != "" {
			t.Errorf("%s (-KubeVirt +meshvm):\n%s", path, diff)
		}
	}
	var newer []string
	for _, path := range sortedKeys(ours) {
		if _, ok := theirs[path]; !ok {
			newer = append(newer, path)
		}
	}
	t.Logf("%d schemas are equal; only in meshvm: %q", shared, newer)
}

// schemas returns the schemas below a path in the first version of a CRD, by path.
// Each is returned without its children and its description.
func schemas(t *testing.T, file string, below ...string) map[string]extv1.JSONSchemaProps {
	t.Helper()
	s := *readCRD(t, filepath.Join(testenv.Root(), file)).Spec.Versions[0].Schema.OpenAPIV3Schema
	for _, name := range below {
		s = s.Properties[name]
	}
	found := map[string]extv1.JSONSchemaProps{}
	walk("", &s, func(path string, s *extv1.JSONSchemaProps) bool {
		bare := *s.DeepCopy()
		bare.Description, bare.Properties, bare.Items, bare.AdditionalProperties = "", nil, nil, nil
		slices.Sort(bare.Required)
		found[path] = bare
		return true
	})
	return found
}
