// SPDX-License-Identifier: Apache-2.0

// Command catalog generates the file-based catalog of the operator, from which
// OLM installs it. The catalog contains the manually written package and
// channels, and a blob for each bundle that a channel names.
//
//	catalog -channels config/catalog/channels.yaml -out catalog/meshvm bundle hack/olm/released/*
//
// "opm render" generates the same blobs (operator-registry, alpha/action) but
// depends on a database and the libraries of a container engine.
package main

import (
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
)

func main() {
	channels := flag.String("channels", "config/catalog/channels.yaml", "File with the package and its channels.")
	out := flag.String("out", "catalog/meshvm", "Output directory.")
	image := flag.String("bundle-image", "localhost/meshvm/bundle", "Image of the bundles without a tag. The tag is the version.")
	flag.Parse()
	if err := run(*channels, *out, *image, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "catalog:", err)
		os.Exit(1)
	}
}

func run(channels, out, image string, dirs []string) error {
	cfg, err := declcfg.LoadFile(os.DirFS(filepath.Dir(channels)), filepath.Base(channels))
	if err != nil {
		return err
	}
	if len(cfg.Packages) != 1 {
		return fmt.Errorf("%s: must contain one package, found %d", channels, len(cfg.Packages))
	}
	for _, dir := range dirs {
		b, err := manifests.GetBundleFromDir(dir)
		if err != nil {
			return err
		}
		blob, err := render(b, image)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		cfg.Bundles = append(cfg.Bundles, blob)
		// The first bundle is the newest and provides the description of the
		// package.
		if p := &cfg.Packages[0]; p.Icon == nil {
			icon := b.CSV.Spec.Icon[0]
			data, err := base64.StdEncoding.DecodeString(icon.Data)
			if err != nil {
				return fmt.Errorf("%s: icon: %w", dir, err)
			}
			p.Icon = &declcfg.Icon{Data: data, MediaType: icon.MediaType}
			p.Description = b.CSV.Spec.Description
		}
	}
	// The conversion validates the catalog: every entry has a bundle, channels
	// have a single head and no cycle, and names, versions and the icon are
	// valid.
	if _, err := declcfg.ConvertToModel(*cfg); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(out, "catalog.yaml"))
	if err != nil {
		return err
	}
	if err := declcfg.WriteYAML(*cfg, file); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "catalog: %d channels, %d bundles in %s\n", len(cfg.Channels), len(cfg.Bundles), file.Name())
	return file.Close()
}

// render returns the blob of a bundle: the provided kinds and the description
// for users. The manifests are in the image of the bundle.
func render(b *manifests.Bundle, image string) (declcfg.Bundle, error) {
	if b.CSV == nil || b.Package == "" {
		return declcfg.Bundle{}, fmt.Errorf("no ClusterServiceVersion or no package")
	}
	version := b.CSV.Spec.Version.String()
	blob := declcfg.Bundle{
		Schema: declcfg.SchemaBundle, Name: b.CSV.Name, Package: b.Package, Image: image + ":v" + version,
		Properties: []property.Property{property.MustBuildPackage(b.Package, version), property.MustBuildCSVMetadata(*b.CSV)},
	}
	for _, o := range b.CSV.Spec.CustomResourceDefinitions.Owned {
		_, group, _ := strings.Cut(o.Name, ".")
		blob.Properties = append(blob.Properties, property.MustBuildGVK(group, o.Version, o.Kind))
	}
	slices.SortFunc(blob.Properties, func(a, b property.Property) int {
		return strings.Compare(a.Type+string(a.Value), b.Type+string(b.Value))
	})
	blob.RelatedImages = []declcfg.RelatedImage{{Image: blob.Image}}
	for _, r := range b.CSV.Spec.RelatedImages {
		blob.RelatedImages = append(blob.RelatedImages, declcfg.RelatedImage{Name: r.Name, Image: r.Image})
	}
	return blob, nil
}
