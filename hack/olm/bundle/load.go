// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// source is the input of the bundle.
type source struct {
	// objects are the manifests of config/manifests.
	objects []*unstructured.Unstructured
	// base is the manually written part of the ClusterServiceVersion.
	base v1alpha1.ClusterServiceVersion
	// examples are objects of the operator's kinds. The first one is the
	// initial object for new users.
	examples []example
	// icon is an SVG.
	icon []byte
	// crds are the CRDs in objects, by name.
	crds map[string]*extv1.CustomResourceDefinition
}

// example is a file with one object and a leading comment that describes it.
type example struct {
	name   string
	text   []byte
	object *unstructured.Unstructured
}

func load(config string, manifests io.Reader, images map[string]string) (*source, error) {
	src := &source{crds: map[string]*extv1.CustomResourceDefinition{}}
	raw, err := io.ReadAll(manifests)
	if err != nil {
		return nil, err
	}
	base, err := os.ReadFile(filepath.Join(config, "bases/meshvm.clusterserviceversion.yaml"))
	if err != nil {
		return nil, err
	}
	for before, after := range images {
		if !bytes.Contains(raw, []byte(before)) && !bytes.Contains(base, []byte(before)) {
			return nil, fmt.Errorf("-image %s: the manifests do not contain this image", before)
		}
		raw = bytes.ReplaceAll(raw, []byte(before), []byte(after))
		base = bytes.ReplaceAll(base, []byte(before), []byte(after))
	}
	if src.objects, err = decode(raw); err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	for _, o := range src.objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		var crd extv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", o.GetName(), err)
		}
		src.crds[crd.Name] = &crd
	}
	if err := yaml.UnmarshalStrict(base, &src.base); err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if src.icon, err = os.ReadFile(filepath.Join(config, "icon.svg")); err != nil {
		return nil, err
	}
	src.examples, err = loadExamples(filepath.Join(config, "examples"))
	return src, err
}

func loadExamples(dir string) ([]example, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var examples []example
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		objects, err := decode(text)
		if err != nil || len(objects) != 1 {
			return nil, fmt.Errorf("%s: must contain one object, found %d (%w)", path, len(objects), err)
		}
		examples = append(examples, example{name: filepath.Base(path), text: text, object: objects[0]})
	}
	return examples, nil
}

// decode decodes a stream of YAML documents.
func decode(raw []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		var o unstructured.Unstructured
		err := d.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, &o)
		}
	}
}

// encodeCSV omits empty fields that the Go types do not omit.
func encodeCSV(csv *v1alpha1.ClusterServiceVersion) ([]byte, error) {
	raw, err := json.Marshal(csv)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	delete(o, "status")
	prune(o)
	return yaml.Marshal(o)
}

// prune removes null and empty objects, except where an empty object has a
// meaning, for example emptyDir or a selector that matches everything.
func prune(o map[string]any) {
	for k, v := range o {
		switch v := v.(type) {
		case nil:
			delete(o, k)
		case map[string]any:
			prune(v)
			if len(v) == 0 && k != "emptyDir" && !strings.HasSuffix(strings.ToLower(k), "selector") {
				delete(o, k)
			}
		case []any:
			for _, e := range v {
				if m, ok := e.(map[string]any); ok {
					prune(m)
				}
			}
		}
	}
}

// comment returns the leading comment of a file as one line.
func (e example) comment() string {
	var words []string
	for line := range strings.Lines(string(e.text)) {
		text, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		words = append(words, strings.TrimSpace(text))
	}
	return strings.Join(words, " ")
}

// body returns the file without its leading comment.
func (e example) body() string {
	text := string(e.text)
	for strings.HasPrefix(text, "#") {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}
