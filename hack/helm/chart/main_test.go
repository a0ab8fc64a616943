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

// TestRelease writes the chart of a release and checks its version and images.
func TestRelease(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	out := filepath.Join(t.TempDir(), "meshvm")
	err := run([]string{
		"release", "-root", root, "-out", out, "-version", "0.2.0",
		"-image", "localhost/meshvm/manager:dev=r.example:5000/meshvm/manager@" + digest,
		"-image", "localhost/meshvm/rule-writer:dev=r.example:5000/w:v0.2.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Version, AppVersion string }
	read(t, filepath.Join(out, "Chart.yaml"), &chart)
	if chart.Version != "0.2.0" || chart.AppVersion != "0.2.0" {
		t.Errorf("Chart.yaml has %+v, want version and appVersion 0.2.0", chart)
	}
	type image struct{ Repository, Tag, Digest string }
	var values struct {
		Images struct{ Manager, RuleWriter image }
	}
	raw := read(t, filepath.Join(out, "values.yaml"), &values)
	if want := (image{"r.example:5000/meshvm/manager", "", digest}); values.Images.Manager != want {
		t.Errorf("image of the manager is %+v, want %+v", values.Images.Manager, want)
	}
	if want := (image{"r.example:5000/w", "v0.2.0", ""}); values.Images.RuleWriter != want {
		t.Errorf("image of the rule-writer is %+v, want %+v", values.Images.RuleWriter, want)
	}
	if !strings.Contains(raw, "# Digest of the manager's image") {
		t.Error("values.yaml has lost its comments")
	}
}

// TestReleaseErrors checks that a release without a version or with a misspelled
// image is an error.
func TestReleaseErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"missing -version": nil,
		"values.yaml does not contain the images [localhost/meshvm/manger:dev]": {"-version", "0.2.0", "-image", "localhost/meshvm/manger:dev=x"},
		`invalid image "manager": must be OLD=NEW`:                              {"-version", "0.2.0", "-image", "manager"},
	} {
		err := run(append([]string{"release", "-root", root, "-out", filepath.Join(t.TempDir(), "meshvm")}, args...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

// TestSync changes the derived files of a copy of the chart and checks that sync
// restores them.
func TestSync(t *testing.T) {
	out := filepath.Join(t.TempDir(), "meshvm")
	if err := os.CopyFS(out, os.DirFS(filepath.Join(root, chartDir))); err != nil {
		t.Fatal(err)
	}
	files := []string{"values.schema.json"}
	for _, file := range copies {
		files = append(files, file)
	}
	for _, file := range files {
		name := filepath.Join(out, file)
		text := read(t, name, &map[string]any{})
		if file == "values.schema.json" {
			text = strings.Replace(text, `"intervalSeconds"`, `"interval"`, 1)
		} else {
			text += "\n---\n{}\n"
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := syncChart(root, out); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want := read(t, filepath.Join(root, chartDir, file), &map[string]any{})
		if got := read(t, filepath.Join(out, file), &map[string]any{}); got != want {
			t.Errorf("sync does not restore %s, or charts/meshvm is outdated: run \"make chart\"", file)
		}
	}
}

// read parses a YAML file and returns its text.
func read(t *testing.T, file string, into any) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(raw)
}
