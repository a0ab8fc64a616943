// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// items represents the elements of an array in a path of schemas.
const items = "[]"

// at returns the schema at a path of property names.
func at(s *extv1.JSONSchemaProps, path ...string) (*extv1.JSONSchemaProps, error) {
	for i, name := range path {
		var next *extv1.JSONSchemaProps
		if name == items {
			if s.Items != nil {
				next = s.Items.Schema
			}
		} else if p, ok := s.Properties[name]; ok {
			next = &p
		}
		if next == nil {
			return nil, fmt.Errorf("no schema at %s", strings.Join(path[:i+1], "."))
		}
		s = next
	}
	return s, nil
}

// graft replaces the property at the path with a schema. The property keeps its
// description. It must be a placeholder, that is, a property with the marker
// Schemaless.
func graft(root, schema *extv1.JSONSchemaProps, path ...string) error {
	name := path[len(path)-1]
	// Properties is a map of values, so the change must be written back at each
	// level.
	if len(path) > 1 && path[0] == items {
		if root.Items == nil || root.Items.Schema == nil {
			return errors.New("no items")
		}
		return graft(root.Items.Schema, schema, path[1:]...)
	}
	if len(path) > 1 {
		child, ok := root.Properties[path[0]]
		if !ok {
			return fmt.Errorf("no property %s", path[0])
		}
		if err := graft(&child, schema, path[1:]...); err != nil {
			return fmt.Errorf("%s: %w", path[0], err)
		}
		root.Properties[path[0]] = child
		return nil
	}
	place, ok := root.Properties[name]
	if !ok {
		return fmt.Errorf("no property %s", name)
	}
	if len(place.Properties) > 0 || place.Type != "" {
		return fmt.Errorf("%s already has a schema: mark it Schemaless", name)
	}
	grafted := schema.DeepCopy()
	grafted.Description = place.Description
	root.Properties[name] = *grafted
	return nil
}

// walk visits a schema and its descendants.
func walk(s *extv1.JSONSchemaProps, visit func(*extv1.JSONSchemaProps)) {
	if s == nil {
		return
	}
	visit(s)
	for name, p := range s.Properties {
		walk(&p, visit)
		s.Properties[name] = p
	}
	if s.Items != nil {
		walk(s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(s.AdditionalProperties.Schema, visit)
	}
	for _, list := range [][]extv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			walk(&list[i], visit)
		}
	}
	walk(s.Not, visit)
}

// strip removes the descriptions of a schema and of its descendants.
func strip(s *extv1.JSONSchemaProps) {
	walk(s, func(s *extv1.JSONSchemaProps) { s.Description = "" })
}

// Istio's rule for durations. Its evaluation fails for a value without a unit, and the API
// server then responds with the error of the evaluation instead of the message.
const (
	durationRule    = "duration(self) >= duration('1ms')"
	guardedRule     = "(self.endsWith('h') || self.endsWith('m') || self.endsWith('s')) && " + durationRule
	durationMessage = "must be a duration of at least 1ms with a unit, for example 2s"
)

// explainDurations gives the fields with Istio's rule a message that contains an example.
func explainDurations(s *extv1.JSONSchemaProps) {
	walk(s, func(s *extv1.JSONSchemaProps) {
		for i := range s.XValidations {
			if r := &s.XValidations[i]; r.Rule == durationRule {
				r.Rule, r.Message = guardedRule, durationMessage
			}
		}
	})
}
