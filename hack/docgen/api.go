// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// others are the fields with an upstream schema, which is documented upstream.
var others = map[string]string{
	"spec.virtualMachine":     "`VirtualMachineSpec` of kubevirt.io/v1: `kubectl explain vm.spec`",
	"spec.mesh.trafficPolicy": "`TrafficPolicy` of networking.istio.io/v1: `kubectl explain destinationrule.spec.trafficPolicy`",
	"spec.ports[].retries":    "`HTTPRetry` of networking.istio.io/v1: `kubectl explain virtualservice.spec.http.retries`",
}

// api returns the kind of a CRD and the Markdown description of its fields.
func api(file string) (kind, text string, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	crd := &extv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, crd); err != nil {
		return "", "", err
	}
	kind = crd.Spec.Names.Kind
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", kind)
	for _, v := range crd.Spec.Versions {
		root := v.Schema.OpenAPIV3Schema
		fmt.Fprintf(&b, "\n`%s/%s`, short `%s`. %s\n", crd.Spec.Group, v.Name, strings.Join(crd.Spec.Names.ShortNames, "`, `"), cell(root.Description))
		for _, rule := range root.XValidations {
			fmt.Fprintf(&b, "\n*Validation:* %s\n", sentence(rule.Message))
		}
		for _, part := range []string{"spec", "status"} {
			s := root.Properties[part]
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", part, sentence(s.Description))
			for _, rule := range s.XValidations {
				fmt.Fprintf(&b, "*Validation:* %s\n\n", sentence(rule.Message))
			}
			b.WriteString("| Field | Type | Meaning |\n|---|---|---|\n")
			fields(&b, part, &s)
		}
	}
	b.WriteString("\nConditions and their reasons: [conditions.md](../conditions.md).\n")
	return kind, b.String(), nil
}

// fields writes a row for each property of a schema and for all below it.
func fields(b *strings.Builder, path string, s *extv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		child := path + "." + name
		required := ""
		if slices.Contains(s.Required, name) {
			required = ", required"
		}
		if upstream, ok := others[child]; ok {
			fmt.Fprintf(b, "| `%s` | object%s | %s Its fields: %s. |\n", child, required, sentence(withoutName(p.Description, name)), upstream)
			continue
		}
		fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", child, typeOf(&p), required, meaning(name, &p))
		if name == "conditions" {
			continue
		}
		fields(b, child, &p)
		if p.Items != nil && p.Items.Schema != nil {
			fields(b, child+"[]", p.Items.Schema)
		}
	}
}

func typeOf(s *extv1.JSONSchemaProps) string {
	switch {
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = "`" + strings.Trim(string(v.Raw), `"`) + "`"
		}
		return strings.Join(values, ", ")
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(s.Items.Schema)
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	default:
		return s.Type
	}
}

// meaning returns the description of a field with its default and the messages of
// its validation rules.
func meaning(name string, s *extv1.JSONSchemaProps) string {
	parts := []string{sentence(withoutName(s.Description, name))}
	if s.Default != nil && !strings.Contains(s.Description, "Defaults to ") {
		parts = append(parts, "Default: `"+strings.Trim(string(s.Default.Raw), `"`)+"`.")
	}
	rules := slices.Clone(s.XValidations)
	if s.Items != nil && s.Items.Schema != nil {
		rules = append(rules, s.Items.Schema.XValidations...)
	}
	for _, rule := range rules {
		parts = append(parts, "*Validation:* "+sentence(rule.Message))
	}
	return strings.Join(parts, " ")
}

// sentence returns text with a period at the end.
func sentence(text string) string {
	text = cell(text)
	if text != "" && !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, ".)") {
		text += "."
	}
	return text
}
