// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/trace"
)

func TestDeclared(t *testing.T) {
	flow := func(e trace.Ending, a trace.Answer) trace.FlowReport {
		return trace.FlowReport{Ending: e, Answer: a, Legs: []trace.Leg{{}}}
	}
	for _, tc := range []struct {
		name  string
		flows []trace.FlowReport
		want  bool
		next  string
	}{
		{"nothing seen", nil, false, "trace again"},
		{"answered", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerYes)}, true, "-o html"},
		{"answer not seen", []trace.FlowReport{flow(trace.EndingOutside, trace.AnswerUnknown)}, true, "-o html"},
		{"refused", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerRefused)}, false, "status NAME"},
		{"no answer", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerNone)}, false, "status NAME"},
		{"dropped", []trace.FlowReport{flow(trace.EndingDropped, trace.AnswerNone)}, false, "status NAME"},
		{"closed port", []trace.FlowReport{flow(trace.EndingNoListener, trace.AnswerRefused)}, false, "spec.ports"},
		{"the second flow", []trace.FlowReport{flow(trace.EndingGuest, trace.AnswerYes), flow(trace.EndingUnknown, trace.AnswerUnknown)}, false, "status NAME"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &Result{trace.Result{Flows: tc.flows}}
			if got := r.Declared(); got != tc.want {
				t.Errorf("declared %t, want %t", got, tc.want)
			}
			if got := r.next(); !strings.Contains(got, tc.next) {
				t.Errorf("next %q, want a text with %q", got, tc.next)
			}
		})
	}
}

func TestObject(t *testing.T) {
	for args, want := range map[string]v1alpha1.ConnectionTraceSpec{
		"":            {},
		"--port http": {Flow: v1alpha1.TracedFlow{Port: "http"}},
		"--from guest --to 10.1.2.3:443": {
			Flow: v1alpha1.TracedFlow{From: v1alpha1.TraceOriginGuest, Destination: "10.1.2.3", DestinationPort: 443},
		},
		"--protocol icmpv6 --source fd00::1 --role migrationTARGET": {
			Role: v1alpha1.PodRoleMigrationTarget, Flow: v1alpha1.TracedFlow{Protocol: v1alpha1.TraceProtocolICMPv6, Source: "fd00::1"},
		},
		"--to :53 --source [fd00::1]:40000 --flows 8 --duration 5m": {
			Flow: v1alpha1.TracedFlow{DestinationPort: 53, Source: "fd00::1", SourcePort: 40000}, MaxFlows: 8, DurationSeconds: 300,
		},
	} {
		t.Run(args, func(t *testing.T) {
			v := &verb{}
			flags := pflag.NewFlagSet("trace", pflag.ContinueOnError)
			v.add(flags)
			if err := flags.Parse(strings.Fields(args)); err != nil {
				t.Fatal(err)
			}
			o, err := v.object("shop", "web")
			if err != nil {
				t.Fatal(err)
			}
			want.MeshedVirtualMachine = "web"
			if want.MaxFlows == 0 {
				want.MaxFlows, want.DurationSeconds = 1, v1alpha1.DefaultTraceSeconds
			}
			if diff := cmp.Diff(want, o.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if o.Namespace != "shop" || o.GenerateName != "web-" {
				t.Errorf("metadata %+v", o.ObjectMeta)
			}
		})
	}
}

func TestEndpoint(t *testing.T) {
	for _, text := range []string{"name", "10.1.2.3:", "10.1.2.3:0", ":0", ":65536", ":x", "fd00::1:x", "10.1.2"} {
		if address, port, err := endpoint("--to", text); err == nil || !strings.Contains(err.Error(), "--to") {
			t.Errorf("%q: %s %d, error %v", text, address, port, err)
		}
	}
}

// TestLongDuration checks that a long duration is not shortened silently: the API server
// refuses it.
func TestLongDuration(t *testing.T) {
	v := &verb{liveFlags: liveFlags{duration: 1000 * time.Hour}}
	o, err := v.object("shop", "web")
	if err != nil || o.Spec.DurationSeconds != 3600 {
		t.Errorf("%d s, error %v", o.Spec.DurationSeconds, err)
	}
	v.duration = time.Millisecond
	if _, err := v.object("shop", "web"); err == nil {
		t.Error("a duration of 1ms is the default")
	}
}
