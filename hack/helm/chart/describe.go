// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// base is what people write of the cluster service version, which the chart says
// too.
type base struct {
	Metadata struct {
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Version        string   `json:"version"`
		MinKubeVersion string   `json:"minKubeVersion"`
		Keywords       []any    `json:"keywords"`
		Maintainers    []object `json:"maintainers"`
		Links          []struct {
			URL string `json:"url"`
		} `json:"links"`
	} `json:"spec"`
}

// describe writes Chart.yaml and the files that are as they are.
func (s *source) describe(root, version string, chart map[string][]byte) error {
	raw, err := os.ReadFile(filepath.Join(root, "config/manifests/bases/meshvm.clusterserviceversion.yaml"))
	if err != nil {
		return err
	}
	var b base
	if err := yaml.Unmarshal(raw, &b); err != nil {
		return err
	}
	if version == "" {
		version = b.Spec.Version
	}
	maintainers := make([]any, 0, len(b.Spec.Maintainers))
	for _, m := range b.Spec.Maintainers {
		maintainers = append(maintainers, m)
	}
	about, err := tree(object{
		"apiVersion": "v2", "name": "meshvm", "type": "application",
		"version": version, "appVersion": version,
		"kubeVersion": ">=" + b.Spec.MinKubeVersion + "-0",
		"description": b.Metadata.Annotations["description"],
		"home":        b.Metadata.Annotations["repository"],
		"keywords":    b.Spec.Keywords, "maintainers": maintainers,
		"annotations": object{"artifacthub.io/license": "Apache-2.0", "artifacthub.io/operator": "true"},
	})
	if err != nil {
		return err
	}
	e := emitter{}
	e.line(0, "# %s", generated)
	if err := e.mapping(about.(*mapping), 0); err != nil { //nolint:forcetypeassert // an object becomes one
		return err
	}
	chart["Chart.yaml"] = []byte(e.String())
	for from, to := range map[string]string{"helpers.tpl": "templates/_helpers.tpl", "NOTES.txt": "templates/NOTES.txt", "helmignore": ".helmignore"} {
		if chart[to], err = files.ReadFile("files/" + from); err != nil {
			return err
		}
	}
	return nil
}

// row writes a value's row of the README's table.
func row(b *strings.Builder, v value, def any) {
	if m, ok := def.(*mapping); ok && len(m.entries) > 0 && strings.HasPrefix(v.path, "images.") {
		for _, e := range m.entries {
			comment := map[string]string{"repository": v.comment, "tag": "Not used where there is a digest.", "digest": "`sha256:…`; wins over the tag."}[e.key]
			fmt.Fprintf(b, "| `%s.%s` | `%s` | %s |\n", v.path, e.key, quoted(e.value), comment)
		}
		return
	}
	fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", v.path, quoted(plainValue(def)), v.comment)
}

// plainValue is what a tree without conditions stands for.
func plainValue(v any) any {
	switch v := v.(type) {
	case *mapping:
		out := object{}
		for _, e := range v.entries {
			out[e.key] = plainValue(e.value)
		}
		return out
	case *sequence:
		out := []any{}
		for _, e := range v.entries {
			out = append(out, plainValue(e.value))
		}
		return out
	}
	return v
}

// configurationRows writes a row of each field of the manager's configuration.
func configurationRows(b *strings.Builder, schema object) error {
	var walk func(path string, s object) error
	walk = func(path string, s object) error {
		properties, _ := s["properties"].(object)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			p := properties[name].(object) //nolint:forcetypeassert // a schema is one
			full := path + "." + name
			if p["properties"] != nil {
				if err := walk(full, p); err != nil {
					return err
				}
				continue
			}
			description, _ := p["description"].(string)
			description, found := strings.CutPrefix(strings.Join(strings.Fields(description), " "), name+" ")
			if !found {
				return fmt.Errorf("%s: its comment must start with its name", full)
			}
			description = strings.TrimPrefix(description, "is ")
			fmt.Fprintf(b, "| `%s` | | %s |\n", full, strings.ToUpper(description[:1])+description[1:])
		}
		return nil
	}
	return walk("config", schema)
}
