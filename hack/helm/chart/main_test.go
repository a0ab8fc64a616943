// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../../.."

// TestRelease makes the chart of a release: version and images are where Helm
// looks for them.
func TestRelease(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	out := t.TempDir()
	err := run(root, out, "0.2.0", map[string]string{
		"localhost/meshvm/manager:dev":     "r.example:5000/meshvm/manager@" + digest,
		"localhost/meshvm/rule-writer:dev": "r.example/w:v0.2.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Version, AppVersion string }
	read(t, filepath.Join(out, "Chart.yaml"), &chart)
	if chart.Version != "0.2.0" || chart.AppVersion != "0.2.0" {
		t.Errorf("Chart.yaml says %+v", chart)
	}
	type image struct{ Repository, Tag, Digest string }
	var values struct {
		Images struct{ Manager, RuleWriter image }
	}
	read(t, filepath.Join(out, "values.yaml"), &values)
	if want := (image{"r.example:5000/meshvm/manager", "", digest}); values.Images.Manager != want {
		t.Errorf("the manager's image is %+v, want %+v", values.Images.Manager, want)
	}
	if want := (image{"r.example/w", "v0.2.0", ""}); values.Images.RuleWriter != want {
		t.Errorf("the rule-writer's image is %+v, want %+v", values.Images.RuleWriter, want)
	}
}

// TestUnknownImage: a misspelt image of a release is no silent default.
func TestUnknownImage(t *testing.T) {
	err := run(root, t.TempDir(), "", map[string]string{"localhost/meshvm/manger:dev": "x"})
	if err == nil || !strings.Contains(err.Error(), "name no such image") {
		t.Errorf("got %v", err)
	}
}

// TestUnexplained: what only some directories have, and no value stands for, is
// an error that says where to go.
func TestUnexplained(t *testing.T) {
	src, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	const key = "Service/meshvm-controller-manager-metrics"
	for _, overlay := range []string{"certmanager", "prometheus"} {
		src.objects[key][overlay].(map[string]any)["spec"].(map[string]any)["type"] = "NodePort"
	}
	err = src.templates(map[string][]byte{})
	if err == nil || !strings.Contains(err.Error(), "hack/helm/chart/conditions.go") || !strings.Contains(err.Error(), key) {
		t.Errorf("got %v", err)
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}
