// SPDX-License-Identifier: Apache-2.0

// Command chart makes the operator's Helm chart from config/, so that there is
// one source of manifests:
//
//	chart -root . -out charts/meshvm
//
// It builds the directories of config/ that people install, and merges what
// kustomize makes of them into one set of templates: what all have in common
// stands as it is, and what only some have depends on the values that stand for
// those (conditions.go). Values that an installation changes take the place of
// what config/ has there, and have that as their default (values.go). Their
// schema comes from Go's types (schema.go).
package main

import (
	"embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed files
var files embed.FS

func main() {
	root := flag.String("root", ".", "The repository's root.")
	out := flag.String("out", "charts/meshvm", "Directory to write; what is in it is removed.")
	version := flag.String("version", "", "Version of the operator and of the chart instead of the bundle's, for example 0.2.0.")
	images := map[string]string{}
	flag.Func("image", "OLD=NEW: have NEW, best with a digest, where the manifests name the image OLD; may be given several times.", func(s string) error {
		before, after, ok := strings.Cut(s, "=")
		if !ok || before == "" || after == "" {
			return fmt.Errorf("want OLD=NEW, not %q", s)
		}
		images[before] = after
		return nil
	})
	flag.Parse()
	if err := run(*root, *out, *version, images); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(root, out, version string, images map[string]string) error {
	src, err := load(root)
	if err != nil {
		return err
	}
	if err := src.replaceImages(images); err != nil {
		return err
	}
	chart := map[string][]byte{}
	for _, step := range []func(map[string][]byte) error{
		src.templates,
		func(c map[string][]byte) error { return src.values(root, c) },
		func(c map[string][]byte) error { return src.describe(root, version, c) },
	} {
		if err := step(chart); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	for name, data := range chart {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "chart: %d files in %s\n", len(chart), out)
	return nil
}
