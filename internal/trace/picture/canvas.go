// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"fmt"
	"html"
	"strings"
)

// canvas collects the elements of an SVG. Coordinates are in CSS pixels.
type canvas struct {
	strings.Builder
	// id is the prefix of the identifiers, which are unique in a page.
	id string
}

func (c *canvas) rect(class string, x, y, w, h int) {
	fmt.Fprintf(c, "<rect class=%q x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\"/>\n", class, x, y, w, h)
}

// stripe fills a rectangle with the pattern of a writer.
func (c *canvas) stripe(writer string, x, y, w, h int) {
	fmt.Fprintf(c, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"url(#%s-%s)\"/>\n", x, y, w, h, c.id, writer)
}

// text writes a line of text. Class "end" aligns it to the right, and "middle"
// centers it.
func (c *canvas) text(class string, x, y int, text string) {
	fmt.Fprintf(c, "<text class=%q x=\"%d\" y=\"%d\">%s</text>\n", class, x, y, html.EscapeString(text))
}

func (c *canvas) path(class, d string) {
	fmt.Fprintf(c, "<path class=%q d=%q/>\n", class, d)
}

// badge is a number on the path.
func (c *canvas) badge(x, y, number int) {
	fmt.Fprintf(c, "<circle class=\"badge\" cx=\"%d\" cy=\"%d\" r=\"10\"/>\n", x, y)
	c.text("number middle", x, y+4, fmt.Sprint(number))
}

// cross marks the end of a packet.
func (c *canvas) cross(x, y int) {
	c.path("cross", fmt.Sprintf("M%d %dl18 18m0 -18l-18 18", x-9, y-9))
}

// diamond is a routing decision.
func (c *canvas) diamond(x, y int) {
	c.path("diamond", fmt.Sprintf("M%d %dl11 11l-11 11l-11 -11z", x, y-11))
}

// arrow is the head of the path, which points down.
func (c *canvas) arrow(x, y int) {
	c.path("head", fmt.Sprintf("M%d %dl-5 -9h10z", x, y))
}

// wrap splits text into lines of at most width characters at spaces, or within
// a word that is longer than a line. The last of at most limit lines ends with
// an ellipsis if text is left.
func wrap(text string, width, limit int) []string {
	var lines []string
	line := []rune{}
	flush := func() {
		lines = append(lines, string(line))
		line = nil
	}
	for word := range strings.FieldsSeq(text) {
		r := []rune(word)
		if len(line) > 0 && len(line)+1+len(r) > width {
			flush()
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		for len(r) > width {
			line = append(line, r[:width]...)
			flush()
			r = r[width:]
		}
		line = append(line, r...)
	}
	if len(line) > 0 {
		flush()
	}
	if len(lines) <= limit {
		return lines
	}
	last := []rune(lines[limit-1])
	return append(lines[:limit-1], string(last[:min(len(last), width-1)])+"…")
}
