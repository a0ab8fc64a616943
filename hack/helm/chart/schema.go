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

// typesOf are the Go types whose schemas values have, by package.
var typesOf = map[string][]string{
	"./api/config/v1alpha1": {"OperatorConfiguration"},
	"k8s.io/api/core/v1":    {"ResourceRequirements", "Toleration", "Affinity", "TopologySpreadConstraint"},
}

// decided are fields of OperatorConfiguration that follow from the chart's other
// values, or from what its objects say of ports and files.
var decided = []string{
	"apiVersion", "kind",
	"ruleWriter.image", "ruleWriter.serviceAccount", "ruleWriter.imagePullPolicy", "ruleWriter.imagePullSecrets",
	"health", "metrics", "webhook",
}

// goTypes derives JSON schemas of Go types, as controller-gen does.
func goTypes(root string) (map[string]object, error) {
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
		for name, types := range typesOf {
			if !strings.HasSuffix(pkg.PkgPath, strings.TrimPrefix(name, ".")) {
				continue
			}
			for _, t := range types {
				ident := crd.TypeIdent{Package: pkg, Name: t}
				parser.NeedFlattenedSchemaFor(ident)
				s, ok := parser.FlattenedSchemata[ident]
				if !ok {
					return nil, fmt.Errorf("no type %s", ident)
				}
				if out[t], err = asObject(s); err != nil {
					return nil, err
				}
				strict(out[t], name == "k8s.io/api/core/v1")
			}
		}
	}
	if loader.PrintErrors(roots, packages.TypeError) {
		return nil, errors.New("types have errors")
	}
	for _, path := range decided {
		if err := remove(out["OperatorConfiguration"], strings.Split(path, ".")); err != nil {
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

// strict makes a CRD's schema one that refuses unknown fields, and that has
// nothing but what JSON schema knows.
func strict(s object, bare bool) {
	for k := range s {
		if strings.HasPrefix(k, "x-kubernetes-") || k == "format" || k == "nullable" || k == "default" || (bare && k == "description") {
			delete(s, k)
		}
	}
	if properties, ok := s["properties"].(object); ok {
		if s["additionalProperties"] == nil {
			s["additionalProperties"] = false
		}
		for _, p := range properties {
			strict(p.(object), bare) //nolint:forcetypeassert // a schema is one
		}
	}
	for _, k := range []string{"items", "additionalProperties"} {
		if sub, ok := s[k].(object); ok {
			strict(sub, bare)
		}
	}
}

// remove takes a property away.
func remove(s object, path []string) error {
	for i, name := range path {
		properties, _ := s["properties"].(object)
		next, ok := properties[name].(object)
		if !ok {
			return fmt.Errorf("no field %s", strings.Join(path, "."))
		}
		if i == len(path)-1 {
			delete(properties, name)
		}
		s = next
	}
	return nil
}

// schema is that of all values.
type schema struct{ root object }

func newSchema() schema {
	return schema{object{
		"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
		// What Helm gives every chart that another one depends on.
		"properties": object{"global": object{"type": "object"}},
	}}
}

// add puts a value's schema at its path.
func (s schema) add(path []string, v value, types map[string]object) error {
	here := s.root
	for _, name := range path[:len(path)-1] {
		properties := here["properties"].(object) //nolint:forcetypeassert // made here
		next, ok := properties[name].(object)
		if !ok {
			next = object{"type": "object", "additionalProperties": false, "properties": object{}}
			properties[name] = next
		}
		here = next
	}
	resolved, err := resolve(v.schema, types)
	if err != nil {
		return err
	}
	if resolved["properties"] != nil {
		resolved["additionalProperties"] = false
	}
	resolved["description"] = v.comment
	here["properties"].(object)[path[len(path)-1]] = resolved //nolint:forcetypeassert // made here
	return nil
}

// resolve is a schema with types in the place of their names, as a copy.
func resolve(s any, types map[string]object) (object, error) {
	switch s := s.(type) {
	case string:
		if types[s] == nil {
			return nil, fmt.Errorf("no type %s", s)
		}
		return maps.Clone(types[s]), nil
	case object:
		out := maps.Clone(s)
		if items, ok := s["items"]; ok {
			resolved, err := resolve(items, types)
			if err != nil {
				return nil, err
			}
			out["items"] = resolved
		}
		return out, nil
	}
	return nil, fmt.Errorf("a schema is a %T", s)
}

func (s schema) json() ([]byte, error) {
	raw, err := json.MarshalIndent(s.root, "", "  ")
	return append(raw, '\n'), err
}
