// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"strings"
)

// style is the style sheet of a drawing. The classes are named in full because
// some renderers do not know custom properties.
const style = `
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1f2328;text-anchor:middle}
.bold{font-weight:600}
.code{font:11px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.small{font-size:11px;fill:#57606a;text-anchor:start}
.halo{paint-order:stroke;stroke:#f6f8fa;stroke-width:5px;stroke-linejoin:round}
.page{fill:#fff}
.group{fill:#f6f8fa;stroke:#d0d7de;stroke-dasharray:4 3}
.arrow{fill:none;stroke:#57606a;stroke-width:1.5}
.dashed{stroke-dasharray:4 3}
.head{fill:#57606a}
.plain{fill:#fff;stroke:#8c959f}
.meshvm{fill:#dafbe1;stroke:#1a7f37}
.istio{fill:#ddf4ff;stroke:#0969da}
.kubevirt{fill:#fff1e5;stroke:#bc4c00}
.guest{fill:#fbefff;stroke:#8250df}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.small{fill:#9da7b3}
.halo{stroke:#161b22}
.page{fill:#0d1117}
.group{fill:#161b22;stroke:#3d444d}
.arrow{stroke:#9da7b3}
.head{fill:#9da7b3}
.plain{fill:#0d1117;stroke:#6e7681}
.meshvm{fill:#12361f;stroke:#3fb950}
.istio{fill:#0c2d4d;stroke:#58a6ff}
.kubevirt{fill:#3d2314;stroke:#f0883e}
.guest{fill:#2d1f45;stroke:#bc8cff}
}
`

func (l *layout) svg(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="%s-title %s-desc">`+"\n",
		width, l.height, width, l.height, name, name)
	fmt.Fprintf(&b, "<!-- Generated from %s.yaml: run \"make drawings\". -->\n", name)
	fmt.Fprintf(&b, "<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n",
		name, html.EscapeString(l.Title), name, html.EscapeString(strings.TrimSpace(l.Description)))
	fmt.Fprintf(&b, "<style>%s</style>\n", style)
	fmt.Fprintf(&b, `<defs><marker id="%s-head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>`+"\n", name)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d" rx="6"/>`+"\n", width, l.height)
	for _, g := range l.Groups {
		fmt.Fprintf(&b, `<rect class="group" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n", margin/2, g.y, width-margin, g.h)
	}
	for _, a := range l.Arrows {
		a.svg(&b, name)
	}
	for _, r := range l.Rows {
		for _, x := range r.Boxes {
			x.svg(&b)
		}
	}
	// Text is drawn above all lines, and its halo interrupts them.
	for _, g := range l.Groups {
		x, anchor := margin, "start"
		switch g.Align {
		case "middle":
			x, anchor = width/2, g.Align
		case "end":
			x, anchor = width-margin, g.Align
		}
		fmt.Fprintf(&b, `<text class="small halo" x="%d" y="%d" style="text-anchor:%s">%s</text>`+"\n", x, g.y+15, anchor, html.EscapeString(g.Text))
	}
	for _, a := range l.Arrows {
		if a.Text != "" {
			fmt.Fprintf(&b, `<text class="small" x="%d" y="%d" style="text-anchor:%s">%s</text>`+"\n", a.textAt[0], a.textAt[1], a.anchor, html.EscapeString(a.Text))
		}
	}
	l.legend(&b)
	b.WriteString("</svg>\n")
	return b.String()
}

func (a *arrow) svg(b *strings.Builder, name string) {
	var path strings.Builder
	for i, p := range a.points {
		fmt.Fprintf(&path, "%c%d %d", "ML"[min(i, 1)], p[0], p[1])
	}
	class := "arrow"
	if a.Dashed {
		class += " dashed"
	}
	fmt.Fprintf(b, `<path class="%s" d="%s" marker-end="url(#%s-head)"/>`+"\n", class, path.String(), name)
}

func (x *box) svg(b *strings.Builder) {
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="4"/>`+"\n", x.Style, x.x, x.y, x.w, x.h)
	top := x.y + (x.h-len(x.Text)*lineHeight)/2
	for i, t := range x.Text {
		class := ""
		text, code := strings.CutPrefix(t, "`")
		switch {
		case code:
			class = ` class="code"`
		case i == 0:
			class = ` class="bold"`
		}
		fmt.Fprintf(b, `<text%s x="%d" y="%d">%s</text>`+"\n", class, x.x+x.w/2, top+i*lineHeight+12, html.EscapeString(text))
	}
}

// legend names the styles that the drawing uses, in one line at its end.
func (l *layout) legend(b *strings.Builder) {
	used := map[string]bool{}
	for _, x := range l.boxes {
		used[x.Style] = true
	}
	x, y := margin, l.height-margin-2
	for _, s := range styles {
		if !used[s.class] || s.legend == "" {
			continue
		}
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="12" height="12" rx="2"/>`+"\n", s.class, x, y-10)
		fmt.Fprintf(b, `<text class="small" x="%d" y="%d">%s</text>`+"\n", x+17, y, s.legend)
		x += 34 + int(plainWidth*float64(len(s.legend)))
	}
}
