// SPDX-License-Identifier: Apache-2.0

// Command bundle makes the operator's OLM bundle (registry+v1) from what
// kustomize builds of config/manifests, so that there is one source of
// manifests. It reads those from standard input:
//
//	kustomize build config/manifests | bundle -config config/manifests -out bundle
//
// What a cluster service version can say moves into it: deployments, the
// manager's cluster-wide rights, webhooks, the kinds. Every other object
// becomes a file of its own, which OLM applies; a kind that OLM does not apply
// is an error.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func main() {
	config := flag.String("config", "config/manifests", "Directory with bases/, examples/ and icon.svg.")
	out := flag.String("out", "bundle", "Directory to write; what is in it is removed.")
	version := flag.String("version", "", "Version of the operator instead of the base's, for example 0.2.0.")
	images := map[string]string{}
	flag.Func("image", "OLD=NEW: put NEW, best with a digest, wherever the manifests name the image OLD; may be given several times.", func(s string) error {
		before, after, ok := strings.Cut(s, "=")
		if !ok || before == "" || after == "" {
			return fmt.Errorf("want OLD=NEW, not %q", s)
		}
		images[before] = after
		return nil
	})
	flag.Parse()
	if err := run(*config, *out, *version, images); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(config, out, version string, images map[string]string) error {
	src, err := load(config, os.Stdin, images)
	if err != nil {
		return err
	}
	if version != "" {
		if err := setVersion(&src.base, version); err != nil {
			return err
		}
	}
	files, err := assemble(src)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	for name, data := range files {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "bundle: %s, %d files in %s\n", src.base.Name, len(files), out)
	return nil
}

// assemble returns the bundle's files by their path in it.
func assemble(src *source) (map[string][]byte, error) {
	csv := src.base.DeepCopy()
	rest, err := moveIntoCSV(csv, src.objects)
	if err != nil {
		return nil, err
	}
	if err := describe(csv, src); err != nil {
		return nil, err
	}
	files := map[string][]byte{"metadata/annotations.yaml": annotations, "tests/scorecard/config.yaml": scorecard}
	raw, err := encodeCSV(csv)
	if err != nil {
		return nil, err
	}
	files["manifests/meshvm.clusterserviceversion.yaml"] = raw
	samples, err := consoleSamples(src.examples)
	if err != nil {
		return nil, err
	}
	for _, o := range append(rest, samples...) {
		if err := addObject(files, o); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// addObject writes an object as a file named as operator-sdk names it. OLM
// puts what has a namespace into the one that the operator is installed in.
func addObject(files map[string][]byte, o *unstructured.Unstructured) error {
	if !applied[o.GetKind()] {
		return fmt.Errorf("%s %s: OLM applies no objects of this kind from a bundle", o.GetKind(), o.GetName())
	}
	o.SetNamespace("")
	unstructured.RemoveNestedField(o.Object, "status")
	raw, err := yaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	gvk := o.GroupVersionKind()
	parts := []string{o.GetName(), gvk.Group, gvk.Version, strings.ToLower(gvk.Kind)}
	if gvk.Group == "" {
		parts = []string{o.GetName(), gvk.Version, strings.ToLower(gvk.Kind)}
	}
	if gvk.Kind == "CustomResourceDefinition" {
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
		parts = []string{group, plural}
	}
	name := "manifests/" + strings.Join(parts, "_") + ".yaml"
	if files[name] != nil {
		return fmt.Errorf("%s would be written twice", name)
	}
	files[name] = raw
	return nil
}

// setVersion makes another version of the operator of the base.
func setVersion(csv *v1alpha1.ClusterServiceVersion, version string) error {
	if err := csv.Spec.Version.UnmarshalJSON([]byte(`"` + version + `"`)); err != nil {
		return fmt.Errorf("-version %s: %w", version, err)
	}
	name, _, _ := strings.Cut(csv.Name, ".v")
	csv.Name = name + ".v" + version
	csv.Annotations[v1alpha1.SkipRangeAnnotationKey] = ">=0.0.1 <" + version
	return nil
}
