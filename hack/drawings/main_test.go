// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestDrawings checks that every checked-in drawing is well-formed, is up to
// date and has a title and a description for screen readers.
func TestDrawings(t *testing.T) {
	sources, err := filepath.Glob("../../docs/drawings/*.yaml")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no drawings found: %v", err)
	}
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			d := &drawing{}
			if err := yaml.UnmarshalStrict(text, d); err != nil {
				t.Fatal(err)
			}
			want, err := render(d, name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(strings.TrimSuffix(source, ".yaml") + ".svg")
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("%s.svg is not up to date: run make drawings", name)
			}
			for _, element := range []string{"title", "desc"} {
				if !strings.Contains(want, "<"+element+" id=\""+name+"-") {
					t.Errorf("no <%s>", element)
				}
			}
			for x := xml.NewDecoder(strings.NewReader(want)); ; {
				if _, err := x.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestPlaceRejects(t *testing.T) {
	ok := func() *drawing {
		return &drawing{Title: "t", Description: "d", Columns: 2, Rows: []row{
			{Boxes: []box{{ID: "a", Span: 1, Style: "plain", Text: []string{"A"}}, {ID: "b", At: 1, Style: "plain", Text: []string{"B"}}}},
			{Boxes: []box{{ID: "c", Style: "guest", Text: []string{"C"}}}},
		}, Arrows: []arrow{{From: "a", To: "b"}, {From: "b", To: "c"}}}
	}
	if _, err := place(ok()); err != nil {
		t.Fatalf("valid drawing: %v", err)
	}
	for name, change := range map[string]func(*drawing){
		"no description":  func(d *drawing) { d.Description = "" },
		"unknown style":   func(d *drawing) { d.Rows[0].Boxes[0].Style = "pink" },
		"duplicate ID":    func(d *drawing) { d.Rows[1].Boxes[0].ID = "a" },
		"overlapping box": func(d *drawing) { d.Rows[0].Boxes[0].Span = 2 },
		"outside grid":    func(d *drawing) { d.Rows[1].Boxes[0].At = 2 },
		"text too wide":   func(d *drawing) { d.Rows[0].Boxes[0].Text = []string{strings.Repeat("m", 30)} },
		"unknown box":     func(d *drawing) { d.Arrows[0].To = "z" },
	} {
		t.Run(name, func(t *testing.T) {
			d := ok()
			change(d)
			if _, err := place(d); err == nil {
				t.Error("expected an error")
			}
		})
	}
}
