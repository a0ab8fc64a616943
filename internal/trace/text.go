// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"fmt"
	"strings"

	"meshvm.io/meshvm/internal/printable"
)

// Text returns the result as text.
func (r Result) Text() string {
	var b strings.Builder
	if r.Message != "" {
		fmt.Fprintf(&b, "%s\n", r.Message)
	}
	for i, f := range r.Flows {
		if i > 0 || r.Message != "" {
			b.WriteByte('\n')
		}
		f.write(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", n)
	}
	return printable.Lines(b.String())
}

func (f FlowReport) write(b *strings.Builder) {
	l := f.Legs[0]
	fmt.Fprintf(b, "%s %s -> %s, %s", l.Protocol, l.Source, l.Destination, f.From.Words())
	if f.Packets > 1 {
		fmt.Fprintf(b, ", sent %d times", f.Packets)
	}
	b.WriteByte('\n')
	for i, l := range f.Legs {
		if i > 0 {
			likely := ""
			if l.Likely {
				likely = ", likely"
			}
			fmt.Fprintf(b, "  %s's own connection%s: %s -> %s\n", cmp.Or(f.Proxy, "the proxy"), likely, l.Source, l.Destination)
		}
		l.write(b)
	}
	fmt.Fprintf(b, "  => %s\n", f.Summary)
}

func (l Leg) write(b *strings.Builder) {
	hook := ""
	for _, h := range l.Hops {
		if h.Hook != "" && h.Hook != hook {
			fmt.Fprintf(b, "    %s (%s)\n", h.Hook, h.Packet)
			hook = h.Hook
		}
		fmt.Fprintf(b, "      %-8s %s\n", h.Writer, h.words())
	}
	switch s, d := l.TranslatedSource, l.TranslatedDestination; {
	case l.Ending == EndingDropped:
	case s != "" && d != "":
		fmt.Fprintf(b, "    continued as %s -> %s\n", s, d)
	case s != "":
		fmt.Fprintf(b, "    continued as %s -> %s\n", s, l.Destination)
	case d != "":
		fmt.Fprintf(b, "    continued as %s -> %s\n", l.Source, d)
	}
}

// words returns one line about a step.
func (h Hop) words() string {
	where := fmt.Sprintf("%s %s %s", h.Family, h.Table, h.Chain)
	if h.Handle == 0 {
		return fmt.Sprintf("%s: no rule decides, %s", where, h.Verdict)
	}
	text := h.Text
	if text == "" {
		text = fmt.Sprintf("rule with handle %d", h.Handle)
	}
	if !strings.HasSuffix(text, h.Verdict) {
		text += " -> " + h.Verdict
	}
	if h.Comment != "" {
		text += fmt.Sprintf(" (%s)", h.Comment)
	}
	return where + ": " + text
}
