// SPDX-License-Identifier: Apache-2.0

// Command drawings renders the drawings of the documentation. Each argument is
// a YAML file that describes one drawing; the SVG is written next to it.
//
// The drawings are 360 units wide, so that they fit on a phone without scaling,
// and follow the light or dark color scheme of the reader. The output depends
// only on the source: fonts are not measured.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: drawings FILE.yaml ...")
		os.Exit(2)
	}
	for _, source := range os.Args[1:] {
		if err := write(source); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", source, err)
			os.Exit(1)
		}
	}
}

func write(source string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	d := &drawing{}
	if err := yaml.UnmarshalStrict(text, d); err != nil {
		return err
	}
	base := strings.TrimSuffix(source, filepath.Ext(source))
	svg, err := render(d, filepath.Base(base))
	if err != nil {
		return err
	}
	return os.WriteFile(base+".svg", []byte(svg), 0o644)
}

// render returns the SVG of a drawing. name makes the IDs of the SVG unique.
func render(d *drawing, name string) (string, error) {
	l, err := place(d)
	if err != nil {
		return "", err
	}
	return l.svg(name), nil
}
