// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"meshvm.io/meshvm/internal/trace"
)

//go:embed page.html.tmpl
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// pageData is the content of a page.
type pageData struct {
	Style    template.CSS
	Headline string
	Message  string
	Notes    []string
	Flows    []pageFlow
}

type pageFlow struct {
	Name, Headline, Summary string
	Wide, Narrow            template.HTML
	Steps                   []pageStep
	Skipped                 []pageSkipped
}

// pageStep is a rule that a packet matched.
type pageStep struct {
	// Number is the number of the chain in the picture.
	Number        int
	Title         string
	Rule, Comment string
	Position      string
	Repairs       string
	Verdict       string
	Before, After string
	Decides       bool
}

// pageSkipped is a chain that a packet did not pass.
type pageSkipped struct{ Chain, Reason string }

// HTML returns a page with the pictures of all flows of a result, and each rule
// that matched as text.
func HTML(r trace.Result) (string, error) {
	data := pageData{
		Style: template.CSS(drawingStyle + pageStyle), Headline: "Trace: no packet was seen", Message: r.Message, Notes: r.Notes,
	}
	for i, f := range r.Flows {
		if i == 0 {
			data.Headline = f.Headline()
		}
		data.Flows = append(data.Flows, flowOf(fmt.Sprintf("flow%d", i+1), r, f))
	}
	var b strings.Builder
	if err := page.Execute(&b, data); err != nil {
		return "", fmt.Errorf("draw the trace: %w", err)
	}
	return b.String(), nil
}

func flowOf(id string, r trace.Result, f trace.FlowReport) pageFlow {
	out := pageFlow{
		Name: flowName(f), Headline: f.Headline(), Summary: f.Summary,
		// The SVG escapes all texts.
		Wide:   template.HTML(svg(id+"-wide", r, f, false, "")),
		Narrow: template.HTML(svg(id+"-narrow", r, f, true, "")),
	}
	passed := 0
	for _, l := range f.Legs {
		hooks := r.Visits(l, passed)
		for i, h := range hooks {
			after := l.From() + " -> " + l.To()
			if i+1 < len(hooks) {
				after = hooks[i+1].Packet
			}
			for _, v := range h.Chains {
				passed = max(passed, v.Number)
				out.add(h, v, after)
			}
		}
	}
	return out
}

// add adds the rules of a chain.
func (f *pageFlow) add(h trace.HookVisit, v trace.Visit, after string) {
	name := fmt.Sprintf("%s %s %s %s", v.Writer, v.Family, v.Table, v.Chain.Chain)
	if v.Number == 0 {
		f.Skipped = append(f.Skipped, pageSkipped{Chain: fmt.Sprintf("%s, hook %s", name, h.Hook), Reason: v.Skipped})
		return
	}
	for _, hop := range v.Hops {
		s := pageStep{
			Number: v.Number, Title: fmt.Sprintf("%s, hook %s", name, h.Hook), Comment: hop.Comment, Verdict: hop.Verdict,
			Position: fmt.Sprintf("%s chain at priority %d", cmp.Or(v.Type, "base"), v.Priority),
			Rule:     hop.Text, Repairs: strings.Join(hop.Repairs, ", "), Before: hop.Packet, Decides: hop.Decides(),
		}
		if hop.Base != "" {
			s.Title = fmt.Sprintf("%s %s %s %s, hook %s", hop.Writer, hop.Family, hop.Table, hop.Chain, h.Hook)
		}
		switch {
		case hop.Handle == 0:
			s.Rule = "no rule decides"
		case hop.Text == "":
			s.Rule = fmt.Sprintf("rule with handle %d", hop.Handle)
		}
		if hop.Verdict == "accept" {
			s.After = after
		}
		f.Steps = append(f.Steps, s)
	}
}
