// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// What a template is made of, beside scalars.
type (
	// mapping is a YAML mapping.
	mapping struct{ entries []entry }
	// entry is there when its condition holds, or always if that is empty.
	entry struct {
		key, condition string
		value          any
	}
	// sequence is a YAML sequence. The key of its entries is the name by which
	// they were matched, if any.
	sequence struct{ entries []entry }
	// choices is the value of the first entry whose condition holds.
	choices []entry
	// expression is template text that makes a scalar.
	expression string
	// block is template text that makes YAML, less the indentation.
	block string
	// optional is the name of a value that the template has when it is not empty.
	optional string
	// optionalText is the same of a text.
	optionalText string
	// included are lines that a named template makes, in place of an entry.
	included string
)

// merger merges what overlays have of one object.
type merger struct{ key string }

// merge returns what the overlays' values have in common and where they differ.
func (m merger) merge(variants map[string]any) (any, error) {
	values := slices.Collect(maps.Values(variants))
	switch {
	case all[map[string]any](values):
		return m.mappings(variants)
	case all[[]any](values):
		return m.sequences(variants)
	default:
		return m.scalars(variants)
	}
}

func all[T any](values []any) bool {
	return !slices.ContainsFunc(values, func(v any) bool { _, ok := v.(T); return !ok })
}

func (m merger) mappings(variants map[string]any) (*mapping, error) {
	out := &mapping{}
	names := map[string]bool{}
	for _, v := range variants {
		for k := range v.(map[string]any) { //nolint:forcetypeassert // seen by the caller
			names[k] = true
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(names), compareKeys) {
		e, err := m.entry(name, variants, func(v any) (any, bool) {
			field, ok := v.(map[string]any)[name] //nolint:forcetypeassert // seen by the caller
			return field, ok
		})
		if err != nil {
			return nil, err
		}
		out.entries = append(out.entries, e)
	}
	return out, nil
}

// entry merges a part that get finds in some of the variants.
func (m merger) entry(name string, variants map[string]any, get func(any) (any, bool)) (entry, error) {
	parts := map[string]any{}
	for overlay, v := range variants {
		if part, ok := get(v); ok {
			parts[overlay] = part
		}
	}
	c, err := condition(m.key, sorted(parts), sorted(variants))
	if err != nil {
		return entry{}, fmt.Errorf("%s: %w", name, err)
	}
	v, err := m.merge(parts)
	if err != nil {
		return entry{}, fmt.Errorf("%s: %w", name, err)
	}
	return entry{name, c, v}, nil
}

// sequences matches items by their names; without names the sequences have to be
// equal, or are alternatives.
func (m merger) sequences(variants map[string]any) (any, error) {
	var names []string
	same := true
	var first []any
	for _, overlay := range inOrder(variants) {
		list := variants[overlay].([]any) //nolint:forcetypeassert // seen by the caller
		if first == nil {
			first = list
		}
		same = same && reflect.DeepEqual(list, first)
		for _, item := range list {
			if name := nameOf(item); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	out := &sequence{}
	if same {
		for _, item := range first {
			v, err := m.merge(map[string]any{"": item})
			if err != nil {
				return nil, err
			}
			out.entries = append(out.entries, entry{key: nameOf(item), value: v})
		}
		return out, nil
	}
	if slices.Contains(names, "") {
		return m.sequenceOfOne(variants)
	}
	for _, name := range names {
		e, err := m.entry(name, variants, func(v any) (any, bool) {
			for _, item := range v.([]any) { //nolint:forcetypeassert // seen by the caller
				if nameOf(item) == name {
					return item, true
				}
			}
			return nil, false
		})
		if err != nil {
			return nil, err
		}
		out.entries = append(out.entries, e)
	}
	return out, nil
}

// sequenceOfOne merges the only items of sequences.
func (m merger) sequenceOfOne(variants map[string]any) (any, error) {
	parts := map[string]any{}
	for overlay, v := range variants {
		list := v.([]any) //nolint:forcetypeassert // seen by the caller
		if len(list) != 1 {
			return nil, fmt.Errorf("%s: sequences differ, and their items have no names", m.key)
		}
		parts[overlay] = list[0]
	}
	v, err := m.merge(parts)
	return &sequence{[]entry{{value: v}}}, err
}

// inOrder lists the overlays of variants as overlays has them.
func inOrder(variants map[string]any) []string {
	if len(variants) == 1 {
		return sorted(variants)
	}
	return slices.DeleteFunc(slices.Clone(overlays), func(o string) bool { return variants[o] == nil })
}

// nameOf is the field that items of the sequences in question are known by.
func nameOf(item any) string {
	o, _ := item.(map[string]any)
	name, _ := o["name"].(string)
	return name
}

func (m merger) scalars(variants map[string]any) (any, error) {
	var out choices
	var done []string
	for _, overlay := range sorted(variants) {
		if slices.Contains(done, overlay) {
			continue
		}
		var same []string
		for _, o := range sorted(variants) {
			if reflect.DeepEqual(variants[o], variants[overlay]) {
				same = append(same, o)
			}
		}
		done = append(done, same...)
		c, err := condition(m.key, same, sorted(variants))
		if err != nil {
			return nil, err
		}
		if c == "" {
			return variants[overlay], nil
		}
		out = append(out, entry{condition: c, value: variants[overlay]})
	}
	return out, nil
}

// compareKeys puts the keys that people look for first in front.
func compareKeys(a, b string) int {
	order := []string{"apiVersion", "kind", "name", "metadata"}
	rank := func(k string) int {
		if i := slices.Index(order, k); i >= 0 {
			return i
		}
		return len(order)
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	if a < b {
		return -1
	}
	return 1
}
