// SPDX-License-Identifier: Apache-2.0

package picture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"meshvm.io/meshvm/internal/trace"
)

// lane is a horizontal band of a picture: a place, or a leg in the pod's
// network namespace.
type lane struct {
	label string
	// place is the text of a place. The first line is its name. It is empty for
	// a leg.
	place []string
	// hooks are the columns of a leg.
	hooks []trace.HookVisit
	// dashed marks a leg that was correlated only by time.
	dashed bool
}

// Labels of the lanes.
const (
	laneOutside = "outside the pod"
	lanePod     = "network namespace of the pod"
	laneProxy   = "proxy"
	laneGuest   = "guest"
	laneProcess = "process in the pod"
	// nothingListens is the name of a place that refused the connection.
	nothingListens = "Nothing listens"
)

// lanes returns the lanes of a flow from top to bottom.
func lanes(r trace.Result, f trace.FlowReport) []lane {
	first := f.Legs[0]
	out := []lane{source(f.From, first.Source)}
	passed := 0
	for i, l := range f.Legs {
		hooks := r.Visits(l, passed)
		for _, h := range hooks {
			for _, c := range h.Chains {
				passed = max(passed, c.Number)
			}
		}
		leg := lane{label: lanePod, hooks: hooks, dashed: l.Likely}
		if i > 0 {
			leg.label += ": the proxy's own connection"
		}
		if l.Likely {
			leg.label += " (likely)"
		}
		out = append(out, leg)
		if end, ok := destination(f, l, i+1 < len(f.Legs)); ok {
			out = append(out, end)
		}
	}
	return out
}

func source(from trace.From, address string) lane {
	switch from {
	case trace.FromGuest:
		return lane{label: laneGuest, place: []string{"Guest", address}}
	case trace.FromPod:
		return lane{label: laneProcess, place: []string{"Process in the pod", address}}
	case trace.FromOutside, trace.FromAny:
		fallthrough
	default:
		return lane{label: laneOutside, place: []string{"Client", address}}
	}
}

// destination returns the place where a leg ended. A dropped packet has none.
func destination(f trace.FlowReport, l trace.Leg, continued bool) (lane, bool) {
	answer := answers[l.Answer]
	switch l.Ending {
	case trace.EndingGuest:
		return lane{label: laneGuest, place: []string{"Guest", l.To(), answer}}, true
	case trace.EndingOutside:
		return lane{label: laneOutside, place: []string{"Destination", l.To(), answer}}, true
	case trace.EndingProxyInbound, trace.EndingProxyOutbound:
		name := proxyName(f)
		if !continued {
			return lane{label: laneProxy, place: []string{name, l.To(), answer, "no further connection was seen"}}, true
		}
		return lane{label: laneProxy, place: []string{name, l.To(), answer}}, true
	case trace.EndingPod:
		return lane{label: laneProcess, place: []string{"Process in the pod", l.To(), answer}}, true
	case trace.EndingNoListener:
		return lane{label: laneProcess, place: []string{nothingListens, l.To(), answer}}, true
	case trace.EndingUnknown:
		return lane{label: "not seen", place: []string{"End not seen"}}, true
	case trace.EndingDropped:
		fallthrough
	default:
		return lane{}, false
	}
}

// answers are the texts of answers.
var answers = map[trace.Answer]string{
	trace.AnswerYes: "answered", trace.AnswerRefused: "refused the connection", trace.AnswerNone: "did not answer", trace.AnswerUnknown: "answer not seen",
}

// chainText is the text of a chain's box.
type chainText struct {
	title, place string
	// rules are the text of the last rule, or the reason for which the packet
	// skipped the chain.
	rules   string
	verdict string
	repairs []string
}

func textOf(v trace.Visit) chainText {
	out := chainText{title: v.Writer, place: fmt.Sprintf("%s %s %s", v.Family, v.Table, v.Chain.Chain)}
	if v.Number == 0 {
		out.rules = v.Skipped
		return out
	}
	h := decisive(v.Hops)
	out.verdict, out.repairs = h.Verdict, h.Repairs
	switch {
	case h.Handle == 0:
		out.rules = "no rule decides"
	case h.Text == "":
		out.rules = "rule with handle " + strconv.FormatUint(h.Handle, 10)
	default:
		out.rules = h.Text
	}
	if strings.HasSuffix(out.rules, out.verdict) {
		out.verdict = ""
	}
	return out
}

// decisive returns the last hop that decides, or the last hop.
func decisive(hops []trace.Hop) trace.Hop {
	for _, h := range slices.Backward(hops) {
		if h.Decides() {
			return h
		}
	}
	return hops[len(hops)-1]
}

// isEnd reports whether the packet ended in the chain.
func isEnd(v trace.Visit) bool { return v.Number > 0 && v.Hops[len(v.Hops)-1].Ends() }
