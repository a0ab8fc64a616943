// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// overlays are the directories of config/ that the chart stands for.
var overlays = []string{"default", "certmanager", "no-webhook", "prometheus", "openshift"}

// namespace is the operator's in config/.
const namespace = "meshvm-system"

// source is what the chart is made from.
type source struct {
	// keys are the objects' keys in the order in which they came first.
	keys []string
	// objects maps an object's key to what each overlay has of it.
	objects map[string]map[string]any
}

// load builds all overlays.
func load(root string) (*source, error) {
	src := &source{objects: map[string]map[string]any{}}
	for _, overlay := range overlays {
		dir := filepath.Join(root, "config", overlay)
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		raw, err := built.AsYaml()
		if err != nil {
			return nil, err
		}
		if err := src.add(overlay, raw); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
	}
	return src, nil
}

func (s *source) add(overlay string, raw []byte) error {
	d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := parseConfiguration(o); err != nil {
			return err
		}
		key := keyOf(o)
		if s.objects[key] == nil {
			s.keys = append(s.keys, key)
			s.objects[key] = map[string]any{}
		}
		s.objects[key][overlay] = o
	}
}

// keyOf is an object's kind and name.
func keyOf(o map[string]any) string {
	metadata, _ := o["metadata"].(map[string]any)
	return fmt.Sprintf("%v/%v", o["kind"], metadata["name"])
}

// configurationKey and configurationFile are where the manager's configuration is.
const (
	configurationKey  = "ConfigMap/meshvm-manager-config"
	configurationFile = "config.yaml"
)

// parseConfiguration replaces the text of the manager's configuration by what it
// says, so that it is merged field by field.
func parseConfiguration(o map[string]any) error {
	if keyOf(o) != configurationKey {
		return nil
	}
	data, _ := o["data"].(map[string]any)
	text, ok := data[configurationFile].(string)
	if !ok {
		return fmt.Errorf("%s has no %s", configurationKey, configurationFile)
	}
	var parsed map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &parsed); err != nil {
		return err
	}
	data[configurationFile] = parsed
	return nil
}

// replaceImages puts other images' names in the place of those of config/.
func (s *source) replaceImages(images map[string]string) error {
	used := map[string]bool{}
	for _, variants := range s.objects {
		for overlay, o := range variants {
			variants[overlay] = mapStrings(o, func(text string) string {
				if after, ok := images[text]; ok {
					used[text] = true
					return after
				}
				return text
			})
		}
	}
	for before := range images {
		if !used[before] {
			return fmt.Errorf("-image %s: the manifests name no such image", before)
		}
	}
	return nil
}

// mapStrings returns a copy with every string replaced.
func mapStrings(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = mapStrings(e, f)
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i, e := range v {
			out[i] = mapStrings(e, f)
		}
		return out
	default:
		return v
	}
}

// splitImage divides an image's name.
func splitImage(name string) (repository, tag, digest string) {
	name, digest, _ = strings.Cut(name, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		return name[:i], name[i+1:], digest
	}
	return name, "", digest
}
