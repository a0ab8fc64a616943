// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"github.com/operator-framework/api/pkg/validation"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestScorecard applies the rules of operator-sdk's six scorecard tests. It is
// stricter where they check only the first level. The scorecard program
// requires a cluster and container images.
func TestScorecard(t *testing.T) {
	b := load(t)
	crs := examples(t, b)
	for name, check := range map[string]func(*manifests.Bundle, []*unstructured.Unstructured) []error{
		"basic-check-spec":         specsPresent,
		"olm-bundle-validation":    bundleValid,
		"olm-crds-have-validation": haveValidation,
		"olm-crds-have-resources":  haveResources,
		"olm-spec-descriptors":     specDescribed,
		"olm-status-descriptors":   statusDescribed,
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range check(b, crs) {
				t.Error(err)
			}
		})
	}
}

func specsPresent(_ *manifests.Bundle, crs []*unstructured.Unstructured) []error {
	var errs []error
	for _, cr := range crs {
		if spec, ok, _ := unstructured.NestedMap(cr.Object, "spec"); !ok || len(spec) == 0 {
			errs = append(errs, fmt.Errorf("%s does not have a spec", cr.GetName()))
		}
	}
	return errs
}

// bundleValid runs the format checks of operator-registry and the default
// validators.
func bundleValid(b *manifests.Bundle, _ []*unstructured.Unstructured) []error {
	var errs []error
	for _, r := range validation.DefaultBundleValidators.Validate(b.ObjectsToValidate()...) {
		for _, e := range r.Errors {
			errs = append(errs, e)
		}
	}
	if b.Package == "" || b.DefaultChannel == "" || !slices.Contains(b.Channels, b.DefaultChannel) {
		errs = append(errs, fmt.Errorf("package %q, channels %q, default channel %q", b.Package, b.Channels, b.DefaultChannel))
	}
	return errs
}

func haveValidation(b *manifests.Bundle, crs []*unstructured.Unstructured) []error {
	return each(b, crs, func(_ v1alpha1.CRDDescription, schema *extv1.JSONSchemaProps, cr *unstructured.Unstructured) (errs []error) {
		for _, part := range []string{"spec", "status"} {
			values, _, _ := unstructured.NestedMap(cr.Object, part)
			for field := range values {
				if _, ok := schema.Properties[part].Properties[field]; !ok {
					errs = append(errs, fmt.Errorf("%s: %s.%s is not in the schema", cr.GetKind(), part, field))
				}
			}
		}
		return errs
	})
}

func haveResources(b *manifests.Bundle, _ []*unstructured.Unstructured) []error {
	var errs []error
	for _, o := range b.CSV.Spec.CustomResourceDefinitions.Owned {
		if len(o.Resources) == 0 {
			errs = append(errs, fmt.Errorf("%s does not list resources", o.Kind))
		}
	}
	return errs
}

func specDescribed(b *manifests.Bundle, crs []*unstructured.Unstructured) []error {
	return each(b, crs, func(owned v1alpha1.CRDDescription, _ *extv1.JSONSchemaProps, cr *unstructured.Unstructured) []error {
		spec, _, _ := unstructured.NestedMap(cr.Object, "spec")
		return described(cr.GetKind()+": spec field", owned.SpecDescriptors, paths("", spec))
	})
}

// statusDescribed checks that every field of the status has a descriptor,
// because a live object can have any of them.
func statusDescribed(b *manifests.Bundle, crs []*unstructured.Unstructured) []error {
	return each(b, crs, func(owned v1alpha1.CRDDescription, schema *extv1.JSONSchemaProps, cr *unstructured.Unstructured) []error {
		var descriptors []v1alpha1.SpecDescriptor
		for _, d := range owned.StatusDescriptors {
			descriptors = append(descriptors, v1alpha1.SpecDescriptor(d))
		}
		return described(cr.GetKind()+": status field", descriptors, slices.Collect(maps.Keys(schema.Properties["status"].Properties)))
	})
}

// described checks that each field has a descriptor with a description, and
// that no other descriptors exist.
func described(what string, descriptors []v1alpha1.SpecDescriptor, fields []string) (errs []error) {
	said := map[string]bool{}
	for _, d := range descriptors {
		said[d.Path] = d.DisplayName != "" && d.Description != ""
		if !slices.Contains(fields, d.Path) {
			errs = append(errs, fmt.Errorf("%s %s has a descriptor but does not exist", what, d.Path))
		}
	}
	for _, field := range fields {
		if !said[field] {
			errs = append(errs, fmt.Errorf("%s %s does not have a descriptor with a description", what, field))
		}
	}
	return errs
}

// each calls check with every example, the description of its kind in the
// bundle, and the schema of its version.
func each(b *manifests.Bundle, crs []*unstructured.Unstructured, check func(v1alpha1.CRDDescription, *extv1.JSONSchemaProps, *unstructured.Unstructured) []error) (errs []error) {
	for _, cr := range crs {
		owned, err := ownedOf(b, cr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		schema, err := schemaOf(b, cr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, check(owned, schema, cr)...)
	}
	return errs
}

var inVirtualMachine = regexp.MustCompile(`^virtualMachine\.`)

// paths returns the paths of all fields in the format of descriptors, except
// for the fields of KubeVirt.
func paths(prefix string, values map[string]any) []string {
	var all []string
	for name, v := range values {
		path := prefix + name
		if inVirtualMachine.MatchString(path) {
			continue
		}
		all = append(all, path)
		switch v := v.(type) {
		case map[string]any:
			all = append(all, paths(path+".", v)...)
		case []any:
			for _, e := range v {
				if m, ok := e.(map[string]any); ok {
					all = append(all, paths(path+"[0].", m)...)
				}
			}
		}
	}
	return all
}

func ownedOf(b *manifests.Bundle, cr *unstructured.Unstructured) (v1alpha1.CRDDescription, error) {
	for _, o := range b.CSV.Spec.CustomResourceDefinitions.Owned {
		if o.Kind == cr.GetKind() {
			return o, nil
		}
	}
	return v1alpha1.CRDDescription{}, fmt.Errorf("the bundle does not own %s", cr.GetKind())
}

func schemaOf(b *manifests.Bundle, cr *unstructured.Unstructured) (*extv1.JSONSchemaProps, error) {
	for _, crd := range b.V1CRDs {
		if crd.Spec.Names.Kind != cr.GetKind() {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if v.Name == cr.GroupVersionKind().Version && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
				return v.Schema.OpenAPIV3Schema, nil
			}
		}
	}
	return nil, fmt.Errorf("%s does not have a schema", cr.GroupVersionKind())
}

// TestScorecardConfiguration checks that scorecard can find its tests.
func TestScorecardConfiguration(t *testing.T) {
	dir := metadata(t)["operators.operatorframework.io.test.config.v1"]
	raw, err := os.ReadFile(filepath.Join(bundleDir, dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Stages []struct {
			Tests []struct {
				Entrypoint []string `json:"entrypoint"`
			} `json:"tests"`
		} `json:"stages"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range config.Stages {
		for _, test := range s.Tests {
			names = append(names, strings.Join(test.Entrypoint, " "))
		}
	}
	if len(names) != 6 {
		t.Errorf("want six tests, found %q", names)
	}
}
