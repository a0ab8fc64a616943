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

// bundleDir is what "make bundle" writes.
const bundleDir = "../../../bundle"

// load reads the bundle as operator-framework's tools do.
func load(t *testing.T) *manifests.Bundle {
	t.Helper()
	b, err := manifests.GetBundleFromDir(bundleDir)
	if err != nil {
		t.Fatal(err)
	}
	if b.CSV == nil {
		t.Fatal("the bundle has no cluster service version")
	}
	return b
}

// examples are the objects in the annotation alm-examples.
func examples(t *testing.T, b *manifests.Bundle) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	if err := json.Unmarshal([]byte(b.CSV.Annotations["alm-examples"]), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the bundle has no examples")
	}
	return all
}

// metadata are the annotations of metadata/annotations.yaml.
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

// TestSize prints how big the bundle is; operator-framework's own limit is
// checked by its bundle validator.
func TestSize(t *testing.T) {
	b := load(t)
	t.Logf("%s: %d objects besides the cluster service version and the %d kinds, %d bytes, compressed %d",
		b.CSV.Name, len(b.Objects)-1-len(b.V1CRDs), len(b.V1CRDs), b.Size, b.CompressedSize)
}
