// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sizes are in user units of the SVG.
const (
	width      = 360
	margin     = 16
	columnGap  = 12
	rowGap     = 30
	lineHeight = 16
	padding    = 8
	groupLabel = 27
	groupEnd   = 12
)

// Estimated width of a character, in units, at the sizes of the style sheet.
// The estimate is based on the widest common font, so that text fits in every
// font.
const (
	plainWidth = 6.9
	boldWidth  = 7.5
	codeWidth  = 6.7
)

// A drawing is a grid of boxes, with arrows between them.
type drawing struct {
	// Title and Description are read out by screen readers.
	Title       string `json:"title"`
	Description string `json:"description"`
	// Columns is the number of columns of the grid.
	Columns int     `json:"columns"`
	Rows    []row   `json:"rows"`
	Groups  []group `json:"groups,omitempty"`
	Arrows  []arrow `json:"arrows,omitempty"`
}

type row struct {
	Boxes []box `json:"boxes"`
	// Gap is the space above the row, rowGap when it is 0.
	Gap int `json:"gap,omitempty"`
}

// A box fills Span columns from column At, which counts from 0.
type box struct {
	ID    string `json:"id"`
	At    int    `json:"at,omitempty"`
	Span  int    `json:"span,omitempty"`
	Style string `json:"style"`
	// Text has one string per line. The first line is bold. A line that starts
	// with "`" is shown in a fixed-width font.
	Text []string `json:"text"`

	row        int
	x, y, w, h int
}

// A group is a panel behind the rows From to To, counted from 0.
type group struct {
	Text string `json:"text"`
	From int    `json:"from"`
	To   int    `json:"to"`
	// Align places the text: start (the default), middle or end.
	Align string `json:"align,omitempty"`

	y, h int
}

// An arrow connects two boxes by their IDs.
type arrow struct {
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text,omitempty"`
	// Left puts the text to the left of the arrow.
	Left bool `json:"left,omitempty"`
	// Shift moves the arrow's ends horizontally.
	Shift int `json:"shift,omitempty"`
	// Dashed is set for arrows that represent neither packets nor writes.
	Dashed bool `json:"dashed,omitempty"`

	points [][2]int
	textAt [2]int
	anchor string
}

// styles are the classes of boxes with the names that the legend gives them.
var styles = []struct{ class, legend string }{
	{"meshvm", "meshvm"},
	{"istio", "Istio"},
	{"kubevirt", "KubeVirt"},
	{"guest", "guest"},
	{"plain", ""},
}

type layout struct {
	*drawing
	boxes  map[string]*box
	height int
}

// place computes all coordinates. It returns an error if a box has an unknown
// style, if boxes overlap, if text does not fit into its box, or if an arrow
// names an unknown box.
func place(d *drawing) (*layout, error) {
	if d.Title == "" || d.Description == "" || d.Columns < 1 {
		return nil, errors.New("title, description and columns are required")
	}
	l := &layout{drawing: d, boxes: map[string]*box{}}
	y := margin - rowGap
	for i := range d.Rows {
		var err error
		if y, err = l.placeRow(i, y); err != nil {
			return nil, err
		}
	}
	for i := range d.Arrows {
		if err := l.route(&d.Arrows[i]); err != nil {
			return nil, err
		}
	}
	l.height = y + margin + lineHeight + padding
	return l, nil
}

// placeRow places row i below y and returns the row's lower edge.
func (l *layout) placeRow(i, y int) (int, error) {
	r := &l.Rows[i]
	gap := r.Gap
	if gap == 0 || i == 0 {
		gap = rowGap
	}
	y += gap
	for j := range l.Groups {
		if g := &l.Groups[j]; g.From == i {
			g.y = y - padding/2
			y += groupLabel
		}
	}
	height, free := 0, 0
	for j := range r.Boxes {
		b := &r.Boxes[j]
		if err := l.placeBox(b, i, y); err != nil {
			return 0, err
		}
		if b.At < free {
			return 0, fmt.Errorf("%s: overlaps the box to its left", b.ID)
		}
		free = b.At + b.Span
		height = max(height, b.h)
	}
	for j := range r.Boxes {
		r.Boxes[j].h = height
	}
	y += height
	for j := range l.Groups {
		if g := &l.Groups[j]; g.To == i {
			y += groupEnd
			g.h = y - g.y
		}
	}
	return y, nil
}

func (l *layout) placeBox(b *box, row, y int) error {
	if b.ID == "" || l.boxes[b.ID] != nil {
		return fmt.Errorf("row %d: the ID %q is empty or not unique", row, b.ID)
	}
	if !slices.ContainsFunc(styles, func(s struct{ class, legend string }) bool { return s.class == b.Style }) {
		return fmt.Errorf("%s: unknown style %q", b.ID, b.Style)
	}
	if b.Span == 0 {
		b.Span = l.Columns - b.At
	}
	if b.At < 0 || b.At+b.Span > l.Columns {
		return fmt.Errorf("%s: outside the grid", b.ID)
	}
	column := (width - 2*margin + columnGap) / l.Columns
	b.row, b.y = row, y
	b.x, b.w = margin+b.At*column, b.Span*column-columnGap
	b.h = len(b.Text)*lineHeight + padding
	for i, t := range b.Text {
		if over := textWidth(t, i == 0) - float64(b.w-padding); over > 0 {
			return fmt.Errorf("%s: %q is too wide by %.0f units", b.ID, t, over)
		}
	}
	l.boxes[b.ID] = b
	return nil
}

func textWidth(text string, bold bool) float64 {
	code, isCode := strings.CutPrefix(text, "`")
	n := float64(len([]rune(code)))
	switch {
	case isCode:
		return n * codeWidth
	case bold:
		return n * boldWidth
	}
	return n * plainWidth
}

// route computes the line of an arrow: horizontal within a row, vertical where
// the boxes share a range of x, and with one horizontal part above the lower
// box elsewhere.
func (l *layout) route(a *arrow) error {
	from, to := l.boxes[a.From], l.boxes[a.To]
	if from == nil || to == nil {
		return fmt.Errorf("arrow from %q to %q: no such box", a.From, a.To)
	}
	if from.row == to.row {
		y := from.y + from.h/2 + a.Shift
		x1, x2 := from.x+from.w, to.x
		if from.x > to.x {
			x1, x2 = from.x, to.x+to.w
		}
		a.points = [][2]int{{x1, y}, {x2, y}}
		a.textAt, a.anchor = [2]int{(x1 + x2) / 2, y - 5}, "middle"
		return nil
	}
	y1, y2 := from.y+from.h, to.y
	if from.row > to.row {
		y1, y2 = from.y, to.y+to.h
	}
	x1, x2 := from.x+from.w/2, to.x+to.w/2
	if left, right := max(from.x, to.x), min(from.x+from.w, to.x+to.w); right-left >= 2*padding {
		x1 = (left+right)/2 + a.Shift
		x2 = x1
		a.points = [][2]int{{x1, y1}, {x2, y2}}
	} else {
		x1, x2 = x1+a.Shift, x2+a.Shift
		bend := y2 - rowGap/2
		if y1 > y2 {
			bend = y2 + rowGap/2
		}
		a.points = [][2]int{{x1, y1}, {x1, bend}, {x2, bend}, {x2, y2}}
	}
	a.textAt, a.anchor = [2]int{x2 + 7, y2 - 11}, "start"
	if y1 > y2 {
		a.textAt[1] = y2 + 18
	}
	if a.Left {
		a.textAt[0], a.anchor = x2-7, "end"
	}
	return nil
}
