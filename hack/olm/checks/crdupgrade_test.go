// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/crdify/pkg/config"
	"sigs.k8s.io/crdify/pkg/runner"
	"sigs.k8s.io/crdify/pkg/validations/property"
)

// releasedDir contains the manifests of the bundle of each release, by version.
const releasedDir = "../released"

// TestUpgradeOfKinds compares the CRDs with the CRDs of every release, like OLM
// v1 before it upgrades an operator.
func TestUpgradeOfKinds(t *testing.T) {
	releases, err := os.ReadDir(releasedDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(releases) == 0 {
		t.Log("no release to compare with")
	}
	current := load(t)
	for _, r := range releases {
		old, err := manifests.GetBundleFromDir(filepath.Join(releasedDir, r.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, before := range old.V1CRDs {
			if err := upgradeSafe(before, find(t, current, before.Name)); err != nil {
				t.Errorf("from %s: %v", r.Name(), err)
			}
		}
	}
}

// TestUpgradeCheckDetectsChanges checks that upgradeSafe detects incompatible
// changes.
func TestUpgradeCheckDetectsChanges(t *testing.T) {
	name := "meshedvirtualmachines.meshvm.io"
	for what, change := range map[string]func(*extv1.CustomResourceDefinition){
		"":                func(*extv1.CustomResourceDefinition) {},
		"scope":           func(c *extv1.CustomResourceDefinition) { c.Spec.Scope = extv1.ClusterScoped },
		"a field removed": func(c *extv1.CustomResourceDefinition) { delete(spec(c).Properties, "capture") },
		"a field required": func(c *extv1.CustomResourceDefinition) {
			s := spec(c)
			s.Required = append(s.Required, "capture")
			c.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = *s
		},
		"a maximum lowered": func(c *extv1.CustomResourceDefinition) {
			field(c, "ports", func(s *schema) { s.MaxItems = ptr.To[int64](1) })
		},
		"a default added": func(c *extv1.CustomResourceDefinition) {
			field(c, "version", func(s *schema) { s.Default = &extv1.JSON{Raw: []byte(`"v2"`)} })
		},
		"a type changed": func(c *extv1.CustomResourceDefinition) {
			field(c, "version", func(s *schema) { s.Type = "integer" })
		},
		"the version removed": func(c *extv1.CustomResourceDefinition) { c.Spec.Versions[0].Name = "v1alpha2" },
	} {
		t.Run(what, func(t *testing.T) {
			before := find(t, load(t), name)
			after := before.DeepCopy()
			change(after)
			err := upgradeSafe(before, after)
			if (err != nil) != (what != "") {
				t.Errorf("upgradeSafe: %v", err)
			}
		})
	}
}

type schema = extv1.JSONSchemaProps

func spec(c *extv1.CustomResourceDefinition) *schema {
	s := c.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	return &s
}

// field changes one field of the spec. Properties is a map of values.
func field(c *extv1.CustomResourceDefinition, name string, change func(*schema)) {
	properties := spec(c).Properties
	f := properties[name]
	change(&f)
	properties[name] = f
}

func find(t *testing.T, b *manifests.Bundle, name string) *extv1.CustomResourceDefinition {
	t.Helper()
	for _, crd := range b.V1CRDs {
		if crd.Name == name {
			return crd
		}
	}
	t.Fatalf("the bundle does not contain %s", name)
	return nil
}

// upgradeSafe runs OLM v1's CRD upgrade safety preflight with its configuration
// (operator-controller, crdupgradesafety.go).
func upgradeSafe(before, after *extv1.CustomResourceDefinition) error {
	r, err := runner.New(&config.Config{
		Conversion:           config.ConversionPolicyIgnore,
		UnhandledEnforcement: config.EnforcementPolicyError,
		Validations: []config.ValidationConfig{
			{Name: "description", Enforcement: config.EnforcementPolicyNone},
			{Name: "enum", Enforcement: config.EnforcementPolicyError, Configuration: map[string]any{"additionPolicy": property.AdditionPolicyAllow}},
		},
	}, runner.DefaultRegistry())
	if err != nil {
		return err
	}
	// The CRD that the cluster has stored.
	before = before.DeepCopy()
	for _, v := range before.Spec.Versions {
		if v.Storage {
			before.Status.StoredVersions = []string{v.Name}
		}
	}
	results := r.Run(before, after)
	if !results.HasFailures() {
		return nil
	}
	text, err := results.Render("text")
	return errors.Join(fmt.Errorf("%s: %s", after.Name, strings.TrimSpace(text)), err)
}
