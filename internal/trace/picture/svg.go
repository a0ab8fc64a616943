// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"cmp"
	"fmt"
	"html"
	"strings"

	"meshvm.io/meshvm/internal/trace"
)

// writers are the components with a separate pattern.
var writers = []struct{ name, class, legend string }{
	{"meshvm", "meshvm", "meshvm"},
	{"Istio", "istio", "Istio"},
	{"KubeVirt", "kubevirt", "KubeVirt"},
	{"another writer", "other", "another writer"},
}

func classOf(writer string) string {
	for _, w := range writers {
		if w.name == writer {
			return w.class
		}
	}
	return "other"
}

// patterns distinguish writers without colors: solid, diagonal lines, dots,
// horizontal lines.
var patterns = map[string]string{
	"meshvm":   `<rect class="fill-meshvm" width="8" height="8"/>`,
	"istio":    `<path class="stroke-istio" d="M-2 2l4 -4M0 8l8 -8M6 10l4 -4"/>`,
	"kubevirt": `<circle class="fill-kubevirt" cx="2" cy="2" r="1.6"/><circle class="fill-kubevirt" cx="6" cy="6" r="1.6"/>`,
	"other":    `<path class="stroke-other" d="M0 2h8M0 6h8"/>`,
}

// SVG returns the picture of a flow, 1,200 CSS pixels wide. It is a complete
// file with its style.
func SVG(r trace.Result, f trace.FlowReport) string {
	return svg("flow", r, f, false, `<style>`+drawingStyle+`</style>`)
}

func svg(id string, r trace.Result, f trace.FlowReport, narrow bool, style string) string {
	l := draw(id, narrow, lanes(r, f))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-labelledby="%[3]s-title %[3]s-desc">`+"\n",
		l.width, l.y, id)
	fmt.Fprintf(&b, "<title id=\"%s-title\">%s</title>\n<desc id=\"%s-desc\">%s</desc>\n%s\n<defs>", id,
		html.EscapeString(f.Headline()), id, html.EscapeString(f.Summary), style)
	for _, w := range writers {
		fmt.Fprintf(&b, `<pattern id="%s-%s" width="8" height="8" patternUnits="userSpaceOnUse">%s</pattern>`, id, w.class, patterns[w.class])
	}
	fmt.Fprintf(&b, "</defs>\n<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n%s</svg>\n", l.width, l.y, l.String())
	return b.String()
}

// flowName returns the title of a flow.
func flowName(f trace.FlowReport) string {
	l := f.Legs[0]
	return fmt.Sprintf("%s %s → %s", l.Protocol, l.Source, l.Destination)
}

// proxyName returns the name of the flow's proxy.
func proxyName(f trace.FlowReport) string { return cmp.Or(f.Proxy, "Envoy") }
