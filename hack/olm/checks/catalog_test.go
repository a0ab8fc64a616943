// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"os"
	"slices"
	"testing"

	"github.com/operator-framework/operator-registry/alpha/declcfg"
	"github.com/operator-framework/operator-registry/alpha/property"
)

const catalogDir = "../../../catalog"

// TestCatalog reads the catalog like OLM's catalog servers and validates it
// like "opm validate".
func TestCatalog(t *testing.T) {
	cfg, err := declcfg.LoadFS(t.Context(), os.DirFS(catalogDir))
	if err != nil {
		t.Fatal(err)
	}
	model, err := declcfg.ConvertToModel(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := load(t)
	pkg := model[b.Package]
	if pkg == nil {
		t.Fatalf("the catalog does not contain package %s", b.Package)
	}
	if pkg.DefaultChannel.Name != b.DefaultChannel {
		t.Errorf("default channel is %s, want %s as in the bundle", pkg.DefaultChannel.Name, b.DefaultChannel)
	}
	for _, name := range b.Channels {
		channel := pkg.Channels[name]
		if channel == nil {
			t.Errorf("channel %s of the bundle is not in the catalog", name)
			continue
		}
		head, err := channel.Head()
		if err != nil {
			t.Errorf("channel %s: %v", name, err)
			continue
		}
		t.Logf("channel %s: head %s of %d bundles", name, head.Name, len(channel.Bundles))
		if channel.Bundles[b.CSV.Name] == nil {
			t.Errorf("channel %s does not contain %s", name, b.CSV.Name)
		}
	}
	t.Logf("catalog: %d packages, %d channels, %d bundles", len(cfg.Packages), len(cfg.Channels), len(cfg.Bundles))
	catalogRules(t, cfg)
}

// catalogRules checks the requirements of OLM v1: no dependencies, and the
// metadata of every bundle, without which the bundle is not listed.
func catalogRules(t *testing.T, cfg *declcfg.DeclarativeConfig) {
	t.Helper()
	for _, b := range cfg.Bundles {
		var types []string
		for _, p := range b.Properties {
			types = append(types, p.Type)
			if slices.Contains([]string{property.TypePackageRequired, property.TypeGVKRequired, property.TypeConstraint}, p.Type) {
				t.Errorf("bundle %s declares %s", b.Name, p.Type)
			}
		}
		for _, want := range []string{property.TypePackage, property.TypeGVK, property.TypeCSVMetadata} {
			if !slices.Contains(types, want) {
				t.Errorf("bundle %s does not have %s", b.Name, want)
			}
		}
	}
}
