// SPDX-License-Identifier: Apache-2.0

// Command bundle generates the OLM bundle (registry+v1) of the operator from
// the output of kustomize for config/manifests, so that the manifests have a
// single source. It reads them from standard input:
//
//	kustomize build config/manifests | bundle -config config/manifests -out bundle
//
// Deployments, the cluster-wide permissions of the manager, webhooks and CRDs
// are moved into the ClusterServiceVersion. Each other object is written to a
// separate file that OLM applies. An object of a kind that OLM does not apply
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
	out := flag.String("out", "bundle", "Output directory. Its previous content is removed.")
	version := flag.String("version", "", "Version of the operator, for example 0.2.0. Defaults to the version of the base.")
	images := map[string]string{}
	flag.Func("image", "OLD=NEW: replace the image OLD in the manifests with NEW, preferably with a digest. Can be repeated.", func(s string) error {
		before, after, ok := strings.Cut(s, "=")
		if !ok || before == "" || after == "" {
			return fmt.Errorf("must be OLD=NEW, not %q", s)
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

// assemble returns the files of the bundle by path.
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

// addObject adds an object as a file with the name that operator-sdk would use.
// OLM creates namespaced objects in the namespace of the operator.
func addObject(files map[string][]byte, o *unstructured.Unstructured) error {
	if !applied[o.GetKind()] {
		return fmt.Errorf("%s %s: OLM does not apply objects of this kind from a bundle", o.GetKind(), o.GetName())
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
		return fmt.Errorf("%s is generated twice", name)
	}
	files[name] = raw
	return nil
}

// setVersion replaces the version of the operator in the base.
func setVersion(csv *v1alpha1.ClusterServiceVersion, version string) error {
	if err := csv.Spec.Version.UnmarshalJSON([]byte(`"` + version + `"`)); err != nil {
		return fmt.Errorf("-version %s: %w", version, err)
	}
	name, _, _ := strings.Cut(csv.Name, ".v")
	csv.Name = name + ".v" + version
	csv.Annotations[v1alpha1.SkipRangeAnnotationKey] = ">=0.0.1 <" + version
	return nil
}
