// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

//go:embed files/annotations.yaml
var annotations []byte

//go:embed files/scorecard.yaml
var scorecard []byte

// describe adds descriptions that are derived from the kinds and the examples.
func describe(csv *v1alpha1.ClusterServiceVersion, src *source) error {
	csv.Spec.Icon = []v1alpha1.Icon{{Data: base64.StdEncoding.EncodeToString(src.icon), MediaType: "image/svg+xml"}}
	related, err := relatedImages(csv)
	if err != nil {
		return err
	}
	csv.Spec.RelatedImages = related
	for _, r := range related {
		if r.Name == "manager" {
			csv.Annotations["containerImage"] = r.Image
		}
	}
	if len(src.examples) == 0 {
		return fmt.Errorf("no examples")
	}
	objects := make([]any, 0, len(src.examples))
	for _, e := range src.examples {
		objects = append(objects, e.object.Object)
	}
	csv.Annotations["alm-examples"] = mustJSON(objects)
	csv.Annotations["operatorframework.io/initialization-resource"] = mustJSON(objects[0])
	owned := csv.Spec.CustomResourceDefinitions.Owned
	for i := range owned {
		crd := src.crds[owned[i].Name]
		if crd == nil {
			return fmt.Errorf("the base names %s, which is not in the manifests", owned[i].Name)
		}
		for _, e := range src.examples {
			if e.object.GetKind() == owned[i].Kind {
				if err := describeKind(&owned[i], crd, e.object); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// describeKind adds a descriptor for each spec field that the example sets and
// for each status field, with the descriptions of the schema.
func describeKind(owned *v1alpha1.CRDDescription, crd *extv1.CustomResourceDefinition, example *unstructured.Unstructured) error {
	i := slices.IndexFunc(crd.Spec.Versions, func(v extv1.CustomResourceDefinitionVersion) bool { return v.Name == owned.Version })
	if i < 0 {
		return fmt.Errorf("%s does not have version %s", crd.Name, owned.Version)
	}
	schema := crd.Spec.Versions[i].Schema.OpenAPIV3Schema
	owned.Description = firstSentences(schema.Description)
	spec, status := schema.Properties["spec"], schema.Properties["status"]
	values, _, _ := unstructured.NestedMap(example.Object, "spec")
	d := describer{}
	d.fields("", &spec, values)
	for _, f := range d.found {
		owned.SpecDescriptors = append(owned.SpecDescriptors, v1alpha1.SpecDescriptor{
			Path: f.path, DisplayName: f.display, Description: f.description, XDescriptors: f.x,
		})
	}
	for _, name := range sortedKeys(status.Properties) {
		s := status.Properties[name]
		owned.StatusDescriptors = append(owned.StatusDescriptors, v1alpha1.StatusDescriptor{
			Path: name, DisplayName: display(name), Description: firstSentences(s.Description), XDescriptors: statusX(name, &s),
		})
	}
	return nil
}

type descriptor struct {
	path, display, description string
	x                          []string
}

type describer struct{ found []descriptor }

// fields iterates over the fields that the example sets. The fields of
// spec.virtualMachine are not described: their descriptions belong to KubeVirt,
// and a form for all of them would be too long.
func (d *describer) fields(prefix string, schema *extv1.JSONSchemaProps, values map[string]any) {
	for _, name := range sortedKeys(values) {
		s, ok := schema.Properties[name]
		if !ok {
			continue
		}
		path := prefix + name
		d.found = append(d.found, descriptor{path, display(name), firstSentences(s.Description), specX(&s)})
		switch v := values[name].(type) {
		case map[string]any:
			if path != "virtualMachine" {
				d.fields(path+".", &s, v)
			}
		case []any:
			if s.Items == nil || s.Items.Schema == nil {
				continue
			}
			merged := map[string]any{}
			for _, e := range v {
				m, _ := e.(map[string]any)
				for k := range m {
					merged[k] = m[k]
				}
			}
			d.fields(path+"[0].", s.Items.Schema, merged)
		}
	}
}

// specX selects the input element of the console.
func specX(s *extv1.JSONSchemaProps) []string {
	const ui = "urn:alm:descriptor:com.tectonic.ui:"
	switch {
	case len(s.Enum) > 0:
		var x []string
		for _, e := range s.Enum {
			x = append(x, ui+"select:"+strings.Trim(string(e.Raw), `"`))
		}
		return x
	case s.Type == "integer":
		return []string{ui + "number"}
	case s.Type == "string":
		return []string{ui + "text"}
	default:
		return nil
	}
}

func statusX(name string, s *extv1.JSONSchemaProps) []string {
	switch {
	case name == "conditions":
		return []string{"urn:alm:descriptor:io.kubernetes.conditions"}
	case s.Type == "string" || s.Type == "integer":
		return []string{"urn:alm:descriptor:text"}
	default:
		return nil
	}
}

// display converts a field name to a title: targetPort becomes "Target Port".
func display(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case i == 0:
			r = unicode.ToUpper(r)
		case unicode.IsUpper(r) && unicode.IsLower(rune(name[i-1])):
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// firstSentences returns the first paragraph of a description as one line.
func firstSentences(description string) string {
	first, _, _ := strings.Cut(description, "\n\n")
	return strings.Join(strings.Fields(first), " ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// consoleSamples returns the examples for the OpenShift console. Internal kinds
// do not have samples.
func consoleSamples(examples []example) ([]*unstructured.Unstructured, error) {
	var samples []*unstructured.Unstructured
	for _, e := range examples {
		if e.object.GetKind() != "MeshedVirtualMachine" {
			continue
		}
		title, description, ok := strings.Cut(e.comment(), ": ")
		if !ok {
			return nil, fmt.Errorf("%s: must start with a comment \"title: description\"", e.name)
		}
		sample := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "console.openshift.io/v1",
			"kind":       "ConsoleYAMLSample",
			"metadata":   map[string]any{"name": "meshvm-" + e.object.GetName()},
			"spec": map[string]any{
				"targetResource": map[string]any{"apiVersion": e.object.GetAPIVersion(), "kind": e.object.GetKind()},
				"title":          title, "description": description, "yaml": e.body(),
			},
		}}
		samples = append(samples, sample)
	}
	return samples, nil
}
