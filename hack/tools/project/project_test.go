// SPDX-License-Identifier: Apache-2.0

// Package project checks that the file PROJECT can be read by kubebuilder and
// matches the CRDs.
package project

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/kubebuilder/v4/pkg/config"
	_ "sigs.k8s.io/kubebuilder/v4/pkg/config/v3" // the version in the file
	"sigs.k8s.io/kubebuilder/v4/pkg/model/resource"
	"sigs.k8s.io/yaml"
)

const root = "../../.."

func TestProject(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "PROJECT"))
	if err != nil {
		t.Fatal(err)
	}
	var version struct {
		Version config.Version `json:"version"`
	}
	if err := yaml.Unmarshal(raw, &version); err != nil {
		t.Fatal(err)
	}
	project, err := config.New(version.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := project.UnmarshalYAML(raw); err != nil {
		t.Fatal(err)
	}
	resources, err := project.GetResources()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(resources) != len(crds) {
		t.Errorf("%d resources, want one for each of %d CRDs", len(resources), len(crds))
	}
	for _, r := range resources {
		check(t, r)
	}
}

// check compares a resource with the CRD of its kind.
func check(t *testing.T, r resource.Resource) {
	t.Helper()
	if r.Plural == "" {
		r.Plural = resource.RegularPlural(r.Kind)
	}
	if err := r.Validate(); err != nil {
		t.Errorf("%s: %v", r.Kind, err)
	}
	if got := r.QualifiedGroup(); got != "meshvm.io" {
		t.Errorf("%s: unexpected group %q", r.Kind, got)
	}
	file := filepath.Join(root, "config/crd/bases", r.QualifiedGroup()+"_"+r.Plural+".yaml")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s does not have a CRD: %v", r.Kind, err)
	}
	if _, err := os.Stat(filepath.Join(root, "api", r.Version)); err != nil {
		t.Errorf("%s: %v", r.Kind, err)
	}
}
