// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// bundleDir is the output of "make bundle".
const bundleDir = "../../../bundle"

// load reads the bundle like the tools of operator-framework.
func load(t *testing.T) *manifests.Bundle {
	t.Helper()
	b, err := manifests.GetBundleFromDir(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	if b.CSV == nil {
		t.Fatal("the bundle does not have a ClusterServiceVersion")
	}
	return b
}

// examples returns the objects in the annotation alm-examples.
func examples(t *testing.T, b *manifests.Bundle) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	if err := json.Unmarshal([]byte(b.CSV.Annotations["alm-examples"]), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the bundle does not have examples")
	}
	return all
}

// metadata returns the annotations of metadata/annotations.yaml.
func metadata(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(bundleDir, "metadata/annotations.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := yaml.UnmarshalStrict(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Annotations
}

// TestSize prints the size of the bundle. The bundle validator of
// operator-framework checks its limit.
func TestSize(t *testing.T) {
	b := load(t)
	t.Logf("%s: %d objects in addition to the ClusterServiceVersion and the %d kinds, %d bytes, compressed %d",
		b.CSV.Name, len(b.Objects)-1-len(b.V1CRDs), len(b.V1CRDs), b.Size, b.CompressedSize)
}
