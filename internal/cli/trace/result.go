// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"fmt"
	"strings"

	"meshvm.io/meshvm/internal/printable"
	"meshvm.io/meshvm/internal/trace"
	"meshvm.io/meshvm/internal/trace/picture"
)

// Formats that only this verb has.
const (
	formatSVG  = "svg"
	formatHTML = "html"
)

// Result is the result of the verb: the result of the tracer.
type Result struct{ trace.Result }

// Text returns the verdict of the first flow, the path of each flow, and the next command.
func (r *Result) Text() string {
	verdict := cmp.Or(r.Message, "No packet was seen")
	if len(r.Flows) > 0 {
		verdict = r.Flows[0].Headline()
	}
	return fmt.Sprintf("%s\n\n%s\nnext: %s\n", printable.Lines(verdict), strings.TrimSuffix(r.Result.Text(), "\n"), r.next())
}

// next returns the command for the next step.
func (r *Result) next() string {
	switch {
	case len(r.Flows) == 0:
		return "trace again, and open a new connection while the trace runs"
	case r.Declared():
		return "the same command with -o html, for a picture"
	case r.Flows[0].Ending == trace.EndingNoListener:
		return "add the port to spec.ports if clients shall reach it; kubectl meshvm status NAME shows the ports"
	default:
		return "kubectl meshvm status NAME, for the state of the rules"
	}
}

// Declared reports whether all flows reached a destination that did not refuse them.
func (r *Result) Declared() bool {
	for _, f := range r.Flows {
		switch f.Ending {
		case trace.EndingDropped, trace.EndingNoListener, trace.EndingUnknown:
			return false
		case trace.EndingGuest, trace.EndingOutside, trace.EndingPod, trace.EndingProxyInbound, trace.EndingProxyOutbound:
		}
		if f.Answer == trace.AnswerRefused || f.Answer == trace.AnswerNone {
			return false
		}
	}
	return len(r.Flows) > 0
}

// Draw returns the result in a format of this verb.
func (r *Result) Draw(format string) (string, error) {
	switch {
	case format == formatHTML:
		return picture.HTML(r.Result)
	case len(r.Flows) == 0:
		return "", fmt.Errorf("no packet was seen: %s", r.Message)
	default:
		return picture.SVG(r.Result, r.Flows[0]), nil
	}
}
