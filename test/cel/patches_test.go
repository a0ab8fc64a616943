// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"strings"
	"testing"
)

const onePatch = "a patch must set exactly one of merge and json: use a separate entry for each"

func patch(changes map[string]any) map[string]any {
	return map[string]any{"spec.patches": []any{changed(map[string]any{"target": "Service", "merge": map[string]any{"metadata": map[string]any{}}}, changes)}}
}

func operation(changes map[string]any) map[string]any {
	op := changed(map[string]any{"op": "add", "path": "/spec/a", "value": "x"}, changes)
	return patch(map[string]any{"merge": removed, "json": []any{op}})
}

var patchCases = map[string]testCase{
	"merge patch":             {set: patch(nil)},
	"JSON patch":              {set: operation(nil)},
	"value that is an object": {set: operation(map[string]any{"value": map[string]any{"a": []any{int64(1)}}})},
	"value that is a number":  {set: operation(map[string]any{"value": int64(1)})},
	"no value":                {set: operation(map[string]any{"op": "remove", "value": removed})},
	"label":                   {set: operation(map[string]any{"path": "/metadata/labels/a"})},
	"move":                    {set: operation(map[string]any{"op": "move", "from": "/metadata/labels/a", "value": removed})},
	"merge and JSON":          {set: patch(map[string]any{"json": []any{map[string]any{"op": "remove", "path": "/spec/a"}}}), want: []string{onePatch}},
	"neither":                 {set: patch(map[string]any{"merge": removed}), want: []string{onePatch}},
	"merge that is a text":    {set: patch(map[string]any{"merge": "x"}), want: []string{"spec.patches[0].merge", "must be of type object"}},
	"no patches":              {set: map[string]any{"spec.patches": []any{}}, want: []string{"spec.patches", "at least 1 items"}},
	"17 patches":              {set: map[string]any{"spec.patches": patches(17)}, want: []string{"spec.patches: Too many"}},
	"no operations":           {set: patch(map[string]any{"merge": removed, "json": []any{}}), want: []string{"spec.patches[0].json", "at least 1 items"}},
	"33 operations":           {set: patch(map[string]any{"merge": removed, "json": operations(33)}), want: []string{"spec.patches[0].json: Too many"}},
	"no target":               {set: patch(map[string]any{"target": removed}), want: []string{"spec.patches[0].target: Required value"}},
	"EnvoyFilter":             {set: patch(map[string]any{"target": "EnvoyFilter"}), want: []string{"spec.patches[0].target: Unsupported value"}},
	"VirtualMachine":          {set: patch(map[string]any{"target": "VirtualMachine"}), want: []string{"spec.patches[0].target: Unsupported value"}},
	"unknown operation":       {set: operation(map[string]any{"op": "set"}), want: []string{"spec.patches[0].json[0].op: Unsupported value"}},
	"no operation":            {set: operation(map[string]any{"op": removed}), want: []string{"spec.patches[0].json[0].op: Required value"}},
	"no path":                 {set: operation(map[string]any{"path": removed}), want: []string{"spec.patches[0].json[0].path: Required value"}},
	"short path":              {set: operation(map[string]any{"path": "/"}), want: []string{"spec.patches[0].json[0].path", "at least 5 chars"}},
	"path of the name":        {set: operation(map[string]any{"path": "/metadata/name"}), want: []string{"spec.patches[0].json[0].path", "should match"}},
	"long path":               {set: operation(map[string]any{"path": "/spec/" + strings.Repeat("a", 507)}), want: []string{"spec.patches[0].json[0].path: Too long"}},
	"short source":            {set: operation(map[string]any{"op": "copy", "from": "/"}), want: []string{"spec.patches[0].json[0].from", "at least 5 chars"}},
	"source outside of spec":  {set: operation(map[string]any{"op": "copy", "from": "/status"}), want: []string{"spec.patches[0].json[0].from", "should match"}},
	"long source":             {set: operation(map[string]any{"op": "copy", "from": "/spec/" + strings.Repeat("a", 507)}), want: []string{"spec.patches[0].json[0].from: Too long"}},
}

func patches(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = map[string]any{"target": "Service", "merge": map[string]any{}}
	}
	return out
}

func operations(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = map[string]any{"op": "remove", "path": "/spec/a"}
	}
	return out
}

func TestPatches(t *testing.T) { run(t, meshedVirtualMachine, patchCases) }
