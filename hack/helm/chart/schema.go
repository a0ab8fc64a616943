// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
	"sigs.k8s.io/controller-tools/pkg/crd"
	crdmarkers "sigs.k8s.io/controller-tools/pkg/crd/markers"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
)

const (
	configPackage = "meshvm.io/meshvm/api/config/v1alpha1"
	corePackage   = "k8s.io/api/core/v1"
)

// typesOf lists the Go types of values by package.
var typesOf = map[string][]string{
	configPackage: {"OperatorConfiguration"},
	corePackage:   {"ResourceRequirements", "Toleration", "Affinity", "TopologySpreadConstraint"},
}

// fixed lists the fields of OperatorConfiguration that other values of the chart
// or its templates set.
var fixed = []string{
	"apiVersion", "kind",
	"ruleWriter.image", "ruleWriter.serviceAccount", "ruleWriter.imagePullPolicy", "ruleWriter.imagePullSecrets", "tracer",
	"health", "metrics", "webhook",
}

// object is a JSON object.
type object = map[string]any

// typeSchemas returns the JSON schemas of the types in typesOf by name.
// controller-gen's library derives them from the source in the repository root.
func typeSchemas(root string) (map[string]object, error) {
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	roots, err := loader.LoadRootsWithConfig(&packages.Config{Dir: dir}, slices.Sorted(maps.Keys(typesOf))...)
	if err != nil {
		return nil, err
	}
	registry := &markers.Registry{}
	if err := crdmarkers.Register(registry); err != nil {
		return nil, err
	}
	parser := &crd.Parser{
		Collector: &markers.Collector{Registry: registry},
		Checker:   &loader.TypeChecker{NodeFilters: []loader.NodeFilter{crd.Generator{}.CheckFilter()}},
	}
	crd.AddKnownTypes(parser)
	out := map[string]object{}
	for _, pkg := range roots {
		for _, name := range typesOf[pkg.PkgPath] {
			ident := crd.TypeIdent{Package: pkg, Name: name}
			parser.NeedFlattenedSchemaFor(ident)
			schema, ok := parser.FlattenedSchemata[ident]
			if !ok {
				return nil, fmt.Errorf("type %s not found", ident)
			}
			if out[name], err = asObject(schema); err != nil {
				return nil, err
			}
			restrict(out[name], pkg.PkgPath == configPackage)
		}
	}
	if loader.PrintErrors(roots, packages.TypeError) {
		return nil, errors.New("the packages of the types do not compile")
	}
	for _, field := range fixed {
		if err := remove(out["OperatorConfiguration"], strings.Split(field, ".")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func asObject(v any) (object, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var o object
	return o, json.Unmarshal(raw, &o)
}

// restrict makes the schema of a CRD reject unknown fields, and removes the
// keywords that JSON Schema does not have. It keeps descriptions only if
// described is set.
func restrict(schema object, described bool) {
	for keyword := range schema {
		if strings.HasPrefix(keyword, "x-kubernetes-") || keyword == "format" || keyword == "nullable" || keyword == "default" {
			delete(schema, keyword)
		}
	}
	if text, ok := schema["description"].(string); ok && described {
		schema["description"] = strings.Join(strings.Fields(text), " ")
	} else {
		delete(schema, "description")
	}
	if properties, ok := schema["properties"].(object); ok {
		if schema["additionalProperties"] == nil {
			schema["additionalProperties"] = false
		}
		for _, p := range properties {
			restrict(p.(object), described) //nolint:forcetypeassert // properties are schemas
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		if nested, ok := schema[keyword].(object); ok {
			restrict(nested, described)
		}
	}
}

// remove deletes the property at path from a schema.
func remove(schema object, path []string) error {
	for i, name := range path {
		properties, _ := schema["properties"].(object)
		next, ok := properties[name].(object)
		if !ok {
			return fmt.Errorf("OperatorConfiguration has no field %s", strings.Join(path, "."))
		}
		if i == len(path)-1 {
			delete(properties, name)
		}
		schema = next
	}
	return nil
}
