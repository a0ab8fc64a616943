// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"meshvm.io/meshvm/hack/images/oci"
	"sigs.k8s.io/yaml"
)

// olmModule requires the Operator Lifecycle Manager and a matching version of the
// operator-registry.
const (
	olmModule = "test/upstream/olm"
	olmPath   = "github.com/operator-framework/operator-lifecycle-manager"
)

// Images of OLM, with their names in OLMManifests.
const (
	// OLMImage contains OLM's two controllers and the program that OLM's unpacking
	// Jobs copy.
	OLMImage = "localhost/meshvm-test/olm:dev"
	// OPMImage unpacks bundles and serves catalogs.
	OPMImage = "localhost/meshvm-test/opm:dev"
)

// olmTags omit the parts of opm that require C libraries.
const olmTags = "containers_image_openpgp,netgo,osusergo"

// olmPrograms contains the programs of OLM and of the registry by name.
var olmPrograms = map[string]string{
	"olm":          olmPath + "/cmd/olm",
	"catalog":      olmPath + "/cmd/catalog",
	"copy-content": olmPath + "/cmd/copy-content",
	"cpb":          olmPath + "/util/cpb",
	"opm":          "github.com/operator-framework/operator-registry/cmd/opm",
}

func init() {
	for name, pkg := range olmPrograms {
		tools[name] = tool{module: olmModule, pkg: pkg, tags: olmTags}
	}
}

// bundleModule contains the generator of the operator's bundle.
const bundleModule = "hack/olm"

// BundleTool returns the path of the generator of the operator's bundle, built
// from the checkout.
func (b *Builder) BundleTool(ctx context.Context) (string, error) {
	dir := filepath.Join(b.Repo, bundleModule)
	sum, err := fileDigest(dir)
	if err != nil {
		return "", err
	}
	return b.product(ctx, "bin/bundle", []string{sum}, func(ctx context.Context, path string) error {
		return b.goBuild(ctx, dir, path, "./bundle", "", nil)
	})
}

// OLMImages returns the path of an archive with OLMImage and OPMImage.
func (b *Builder) OLMImages(ctx context.Context) (string, error) {
	kernel, err := b.guestKernel(ctx)
	if err != nil {
		return "", err
	}
	// OLM's Jobs run /bin/cp from its image.
	busybox := busyboxOf(kernel)
	inputs := []string{kernel, "1"}
	programs := map[string]string{}
	for name := range olmPrograms {
		if programs[name], err = b.Tool(ctx, name); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"olm", "catalog", "copy-content", "cpb", "opm"} {
		inputs = append(inputs, programs[name])
	}
	return b.product(ctx, "images/olm", inputs, func(_ context.Context, path string) error {
		olm, opm := path+".olm", path+".opm"
		defer os.Remove(olm) //nolint:errcheck // it is in the archive
		defer os.Remove(opm) //nolint:errcheck // it is in the archive
		bin := func(l *oci.Layer, name string) error { return l.File("bin/"+name, 0o755, programs[name]) }
		err := errors.Join(
			oci.WriteLayer(olm, func(l *oci.Layer) error {
				return errors.Join(l.Dir("tmp", 0o1777), l.File("bin/cp", 0o755, busybox),
					bin(l, "olm"), bin(l, "catalog"), bin(l, "copy-content"), bin(l, "cpb"))
			}),
			oci.WriteLayer(opm, func(l *oci.Layer) error { return errors.Join(l.Dir("tmp", 0o1777), bin(l, "opm")) }))
		if err != nil {
			return err
		}
		return oci.WriteFile(path,
			oci.Image{Name: OLMImage, User: "1001:1001", Entrypoint: []string{"/bin/olm"}, Layers: []string{olm}},
			oci.Image{Name: OPMImage, User: "1001:1001", Entrypoint: []string{"/bin/opm"}, Layers: []string{opm}})
	})
}

// BundleImage returns the path of an archive with an image that contains only the
// files of a bundle: manifests/ and metadata/ of dir.
func (b *Builder) BundleImage(ctx context.Context, name, dir string) (string, error) {
	return b.treeImage(ctx, "images/bundle", name, dir, "", "")
}

// CatalogImage returns the path of an archive with an image that serves the
// file-based catalog in dir, by default on port 50051.
func (b *Builder) CatalogImage(ctx context.Context, name, dir string) (string, error) {
	opm, err := b.Tool(ctx, "opm")
	if err != nil {
		return "", err
	}
	return b.treeImage(ctx, "images/catalog", name, dir, "configs", opm)
}

// treeImage packs a directory into an image at the path to, together with opm if
// opm is not empty.
func (b *Builder) treeImage(ctx context.Context, product, name, dir, to, opm string) (string, error) {
	sum, err := fileDigest(dir)
	if err != nil {
		return "", err
	}
	return b.product(ctx, product, []string{name, sum, to, opm, "1"}, func(_ context.Context, path string) error {
		img := oci.Image{Name: name, User: "1001:1001", Layers: []string{path + ".layer"}}
		defer os.Remove(img.Layers[0]) //nolint:errcheck // it is in the archive
		err := oci.WriteLayer(img.Layers[0], func(l *oci.Layer) error {
			if opm != "" {
				img.Entrypoint = []string{"/bin/opm"}
				if err := errors.Join(l.Dir("tmp", 0o1777), l.File(img.Entrypoint[0], 0o755, opm)); err != nil {
					return err
				}
			}
			return filepath.WalkDir(dir, func(from string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, err := filepath.Rel(dir, from)
				return errors.Join(err, l.File(filepath.Join(to, rel), 0o644, from))
			})
		})
		if err != nil {
			return err
		}
		return oci.WriteFile(path, img)
	})
}

// OLMNamespace is the namespace of OLM in OLMManifests.
const OLMNamespace = "olm"

// olmTemplates lists the templates of OLM's chart that are used. The package
// server, the catalog and the global operator group are not used.
var olmTemplates = []string{
	"0000_50_olm_00-namespace.yaml",
	"0000_50_olm_01-networkpolicies.yaml",
	"0000_50_olm_02-olm-operator.serviceaccount.yaml",
	"0000_50_olm_03-olmconfig.yaml",
	"0000_50_olm_07-olm-operator.deployment.yaml",
	"0000_50_olm_08-catalog-operator.deployment.yaml",
	"0000_50_olm_09-aggregated.clusterrole.yaml",
}

// OLMManifests returns OLM's CRDs and its chart's templates, rendered with the
// chart's values except for images and namespaces.
func (b *Builder) OLMManifests(ctx context.Context) ([]byte, error) {
	dir, err := b.moduleDir(ctx, olmModule, olmPath)
	if err != nil {
		return nil, err
	}
	chart := filepath.Join(dir, "deploy/chart")
	crds, err := filepath.Glob(filepath.Join(chart, "crds/*.yaml"))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, path := range crds {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out.WriteString("\n---\n")
		out.Write(raw)
	}
	values, err := olmValues(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	for _, name := range olmTemplates {
		t, err := template.New(name).Funcs(chartFuncs).ParseFiles(filepath.Join(chart, "templates", name))
		if err != nil {
			return nil, err
		}
		out.WriteString("\n---\n")
		if err := t.Execute(&out, map[string]any{"Values": values}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// ConsoleYAMLSampleCRD returns OpenShift's CRD of a kind that the operator's bundle
// contains an object of. OLM installs a bundle only if all its kinds exist.
func (b *Builder) ConsoleYAMLSampleCRD(ctx context.Context) ([]byte, error) {
	dir, err := b.moduleDir(ctx, olmModule, "github.com/openshift/api")
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "console/v1/zz_generated.crd-manifests/00_consoleyamlsamples.crd.yaml"))
}

// olmValues returns the chart's values with the local images.
func olmValues(path string) (map[string]any, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	values["namespace"], values["catalog_namespace"] = OLMNamespace, OLMNamespace
	for _, component := range []string{"olm", "catalog"} {
		c, ok := values[component].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: no values of %s", path, component)
		}
		c["image"] = map[string]any{"ref": OLMImage, "pullPolicy": "IfNotPresent"}
	}
	catalog := values["catalog"].(map[string]any) //nolint:forcetypeassert // just seen
	catalog["commandArgs"] = "--configmapServerImage=" + OPMImage
	catalog["opmImageArgs"] = "--opmImage=" + OPMImage
	return values, nil
}

// chartFuncs are Helm's functions that OLM's templates call.
var chartFuncs = template.FuncMap{
	"toYaml": func(v any) (string, error) {
		raw, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(raw), "\n"), err
	},
	"indent":     indent,
	"nindent":    func(n int, s string) string { return "\n" + indent(n, s) },
	"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
}

func indent(n int, s string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
}
