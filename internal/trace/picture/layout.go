// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"meshvm.io/meshvm/internal/trace"
)

// Sizes in CSS pixels.
const (
	wideWidth   = 1200
	narrowWidth = 358
	margin      = 12
	gutter      = 64
	lineHeight  = 16
	boxGap      = 8
	laneGap     = 22
	laneLabel   = 24
	// spine is the distance between the left side of a column and the path.
	spine = 14
	// indent is the distance between the left side of a column and its boxes.
	indent     = 32
	stripe     = 8
	placeWidth = 300
	minColumns = 3
	// hookHeight is the height of a column above its chains.
	hookHeight = 4*lineHeight + 6
	// hookLine is the distance between the top of a column and the middle of its
	// first line.
	hookLine = 8
	// codeWidth is the width of a character of code. The estimate is based on
	// the widest common font.
	codeWidth = 6.8
	maxLines  = 4
)

// layout draws lanes at fixed positions.
type layout struct {
	canvas
	narrow bool
	width  int
	y      int
	// x is where the path leaves the last lane, and from is the vertical
	// position of its end.
	x, from int
	dashed  bool
	started bool
	// paths are drawn after the lanes and before the numbers.
	paths, marks canvas
}

func draw(id string, narrow bool, all []lane) *layout {
	l := &layout{narrow: narrow, width: wideWidth, y: margin, canvas: canvas{id: id}}
	if narrow {
		l.width = narrowWidth
	}
	for _, a := range all {
		if a.place != nil {
			l.place(a)
		} else {
			l.leg(a)
		}
		l.started = true
	}
	l.y += margin - laneGap
	l.WriteString(l.paths.String())
	l.WriteString(l.marks.String())
	l.legend()
	return l
}

func (l *layout) band(label string, height int) {
	l.rect("lane", 4, l.y, l.width-8, height)
	l.text("small", margin+indent, l.y+lineHeight, label)
}

// place draws a lane with one box where the path enters.
func (l *layout) place(a lane) {
	lines := slices.DeleteFunc(slices.Clone(a.place), func(s string) bool { return s == "" })
	height := 2*boxGap + len(lines)*lineHeight
	if !l.started {
		l.x = margin + spine
	}
	l.band(a.label, laneLabel+height+boxGap)
	top := l.y + laneLabel
	left := min(l.x-spine, l.width-margin-placeWidth)
	l.rect("place", left, top, placeWidth, height)
	for i, line := range lines {
		class := "code"
		if i == 0 {
			class = "bold"
		}
		l.text(class, left+indent, top+boxGap+12+i*lineHeight, line)
	}
	if l.started {
		l.line(fmt.Sprintf("M%d %dV%d", l.x, l.from, top))
		l.marks.arrow(l.x, top)
	}
	if a.label == laneProcess && a.place[0] == nothingListens {
		l.marks.cross(l.x, top+height/2)
	}
	l.from = top + height
	l.y += laneLabel + height + boxGap + laneGap
}

func (l *layout) line(d string) {
	class := "path"
	if l.dashed {
		class = "path dashed"
	}
	l.paths.path(class, d)
}

// leg draws a lane with a column for each hook.
func (l *layout) leg(a lane) {
	l.dashed = a.dashed
	top := l.y + laneLabel
	if len(a.hooks) == 0 {
		l.band(a.label, laneLabel+2*lineHeight)
		l.text("small", margin+indent, top+12, "no rule was seen")
		l.line(fmt.Sprintf("M%d %dV%d", l.x, l.from, l.y+laneLabel+2*lineHeight))
		l.from = l.y + laneLabel + 2*lineHeight
		l.y = l.from + laneGap
		return
	}
	count := max(len(a.hooks), minColumns)
	column := (l.width - 2*margin - (count-1)*gutter) / count
	if l.narrow {
		column = l.width - 2*margin
	}
	heights := make([]int, len(a.hooks))
	for i, h := range a.hooks {
		heights[i] = hookHeight
		for _, v := range h.Chains {
			heights[i] += boxHeight(v, column) + boxGap
		}
	}
	height := slices.Max(heights)
	if l.narrow {
		height = (len(heights) - 1) * gutter
		for _, h := range heights {
			height += h
		}
	}
	l.band(a.label, laneLabel+height+boxGap)
	at := margin + spine
	l.line(fmt.Sprintf("M%d %dV%dH%dV%d", l.x, l.from, l.y-laneGap/2, at, top))
	x, y := margin, top
	for i, h := range a.hooks {
		if end, ended := l.column(h, x, y, column); ended {
			l.x = x + spine
			l.line(fmt.Sprintf("M%d %dV%d", l.x, start(i, y, l.narrow), end))
			break
		}
		l.x, l.from = x+spine, y+heights[i]
		l.line(fmt.Sprintf("M%d %dV%d", l.x, start(i, y, l.narrow), l.from))
		if i+1 == len(a.hooks) {
			break
		}
		if l.narrow {
			l.route(h.Hook, l.x, l.from, l.x, l.from+gutter)
			y = l.from + gutter
		} else {
			l.route(h.Hook, l.x, l.from, x+column+gutter+spine, y)
			x += column + gutter
		}
	}
	l.y += laneLabel + height + boxGap + laneGap
}

// route draws the path between two columns, with the routing decision after
// the hooks before it (linux/netfilter.h).
func (l *layout) route(after string, x, y, toX, toY int) {
	routed := after == "prerouting" || after == "output"
	if x == toX {
		l.line(fmt.Sprintf("M%d %dV%d", x, y, toY))
		if routed {
			l.marks.diamond(x, (y+toY)/2)
			l.marks.text("small", x+indent-spine, (y+toY)/2+4, "routing decision")
		}
		return
	}
	middle := toX - spine - gutter/2
	l.line(fmt.Sprintf("M%d %dH%dV%dH%d", x, y, middle, toY+hookLine, toX))
	if routed {
		l.marks.diamond(middle, toY+hookLine)
		l.marks.text("small end", middle-indent/2, toY+12, "routing decision")
	}
}

// start returns where the path enters a column.
func start(column, top int, narrow bool) int {
	if column == 0 || narrow {
		return top
	}
	return top + hookLine
}

// column draws a hook. It reports whether the packet ended in it, and where.
func (l *layout) column(h trace.HookVisit, x, y, width int) (end int, ended bool) {
	l.text("bold", x+indent, y+12, "hook "+h.Hook)
	source, destination, _ := strings.Cut(h.Packet, " -> ")
	for i, line := range []string{source, "→ " + destination} {
		for _, text := range wrap(line, charactersIn(width), 1) {
			l.text("code", x+indent, y+12+(i+1)*lineHeight, text)
		}
	}
	y += hookHeight
	for _, v := range h.Chains {
		height := boxHeight(v, width)
		l.chain(v, x+indent, y, width-indent)
		if v.Number > 0 {
			l.marks.badge(x+spine, y+lineHeight+2, v.Number)
		}
		if isEnd(v) {
			l.marks.cross(x+spine, y+lineHeight+2+24)
			return y + lineHeight, true
		}
		y += height + boxGap
	}
	return y, false
}

// charactersIn returns the number of characters of code in a line of a box.
func charactersIn(column int) int {
	return int(float64(column-indent-stripe-2*boxGap) / codeWidth)
}

// boxLines returns the lines of a chain's box below its title.
func boxLines(v trace.Visit, column int) []string {
	t := textOf(v)
	chars := charactersIn(column)
	out := append(wrap(t.place, chars, 2), wrap(t.rules, chars, maxLines)...)
	if t.verdict != "" {
		out = append(out, wrap("→ "+t.verdict, chars, 2)...)
	}
	if len(t.repairs) > 0 {
		out = append(out, wrap("repairs "+strings.Join(t.repairs, ", "), chars, 1)...)
	}
	return out
}

func boxHeight(v trace.Visit, column int) int {
	return 2*boxGap + (1+len(boxLines(v, column)))*lineHeight
}

func (l *layout) chain(v trace.Visit, x, y, width int) {
	lines := boxLines(v, width+indent)
	height := 2*boxGap + (1+len(lines))*lineHeight
	writer, skipped := classOf(v.Writer), ""
	if v.Number == 0 {
		skipped = " skipped"
	}
	l.rect("chain "+writer+skipped, x, y, width, height)
	l.stripe(writer, x, y, stripe, height)
	left := x + stripe + boxGap
	l.text("bold"+skipped, left, y+boxGap+12, v.Writer)
	l.text("small end", x+width-boxGap, y+boxGap+12, v.Type+" "+strconv.Itoa(int(v.Priority)))
	for i, line := range lines {
		l.text("code"+skipped, left, y+boxGap+12+(i+1)*lineHeight, line)
	}
}

// legend explains the patterns.
func (l *layout) legend() {
	x := margin
	for _, w := range writers {
		if l.narrow && x > l.width-90 {
			x, l.y = margin, l.y+lineHeight+boxGap
		}
		l.rect("chain "+w.class, x, l.y, 24, lineHeight)
		l.stripe(w.class, x, l.y, stripe, lineHeight)
		l.text("small", x+30, l.y+12, w.legend)
		x += 50 + 7*len(w.legend)
	}
	l.y += lineHeight + margin
}
