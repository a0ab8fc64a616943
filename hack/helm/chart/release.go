// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// release is a chart to write.
type release struct {
	out, version string
	// images contains the new reference of each replaced image.
	images map[string]string
}

// write copies the chart in dir and sets the version and the images. It keeps
// the comments of the files.
func (r release) write(dir string) error {
	if r.version == "" {
		return errors.New("missing -version")
	}
	if err := os.CopyFS(r.out, os.DirFS(dir)); err != nil {
		return err
	}
	err := edit(filepath.Join(r.out, "Chart.yaml"), func(chart *yaml.RNode) error {
		for _, field := range []string{"version", "appVersion"} {
			if err := set(chart, field, r.version); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return edit(filepath.Join(r.out, "values.yaml"), r.setImages)
}

// setImages replaces images in values.yaml. An image that values.yaml does not
// contain is an error.
func (r release) setImages(values *yaml.RNode) error {
	unused := maps.Clone(r.images)
	for _, name := range []string{"manager", "ruleWriter", "tracer"} {
		image, err := values.Pipe(yaml.Lookup("images", name))
		if err != nil {
			return err
		}
		if image == nil {
			return fmt.Errorf("values.yaml has no images.%s", name)
		}
		before := yaml.GetValue(image.Field("repository").Value) + ":" + yaml.GetValue(image.Field("tag").Value)
		after, ok := r.images[before]
		if !ok {
			continue
		}
		delete(unused, before)
		repository, tag, digest := splitImage(after)
		for field, value := range map[string]string{"repository": repository, "tag": tag, "digest": digest} {
			if err := set(image, field, value); err != nil {
				return err
			}
		}
	}
	if len(unused) > 0 {
		return fmt.Errorf("values.yaml does not contain the images %v", slices.Sorted(maps.Keys(unused)))
	}
	return nil
}

// splitImage splits the reference of an image. A reference with a digest has no tag.
func splitImage(reference string) (repository, tag, digest string) {
	if repository, digest, ok := strings.Cut(reference, "@"); ok {
		return repository, "", digest
	}
	if i := strings.LastIndex(reference, ":"); i > strings.LastIndex(reference, "/") {
		return reference[:i], reference[i+1:], ""
	}
	return reference, "latest", ""
}

// edit changes a YAML file.
func edit(file string, change func(*yaml.RNode) error) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	node, err := yaml.Parse(string(raw))
	if err != nil {
		return err
	}
	if err := change(node); err != nil {
		return err
	}
	text, err := node.String()
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// set changes the value of a field that exists.
func set(node *yaml.RNode, field, value string) error {
	existing := node.Field(field)
	if existing == nil {
		return fmt.Errorf("no field %s", field)
	}
	existing.Value.YNode().SetString(value)
	return nil
}
