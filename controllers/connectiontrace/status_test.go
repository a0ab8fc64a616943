// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/flowio"
	"meshvm.io/meshvm/internal/rulejob"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newScope(spec v1alpha1.ConnectionTraceSpec) *scope {
	t := &v1alpha1.ConnectionTrace{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "trace", Generation: 1, CreationTimestamp: metav1.NewTime(created)},
		Spec:       spec,
	}
	return &scope{trace: t, before: t.DeepCopy()}
}

func (s *scope) condition(t v1alpha1.ConditionType) string {
	c := meta.FindStatusCondition(s.trace.Status.Conditions, string(t))
	if c == nil {
		return ""
	}
	return string(c.Status) + "/" + c.Reason
}

func TestBlock(t *testing.T) {
	missing := obstacle{reason: v1alpha1.ReasonMachineNotFound, message: "missing"}
	for name, tc := range map[string]struct {
		o        obstacle
		age      time.Duration
		accepted string
		complete string
		again    bool
	}{
		"a machine that can still appear":   {missing, time.Second, "False/MachineNotFound", "False/TraceWaiting", true},
		"a machine that does not exist":     {missing, grace + 1, "False/MachineNotFound", "True/MachineNotFound", false},
		"a port that does not exist":        {obstacle{reason: v1alpha1.ReasonPortNotFound, final: true}, 0, "False/PortNotFound", "True/PortNotFound", false},
		"a limit":                           {obstacle{message: "waiting"}, time.Minute, "True/Accepted", "False/TraceWaiting", true},
		"a limit that is never in the past": {obstacle{message: "waiting"}, maxWait + 1, "True/Accepted", "True/TraceBusy", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScope(v1alpha1.ConnectionTraceSpec{})
			result := s.block(created.Add(tc.age), &tc.o)
			if got := s.condition(v1alpha1.ConditionAccepted); got != tc.accepted {
				t.Errorf("Accepted is %s, want %s", got, tc.accepted)
			}
			if got := s.condition(v1alpha1.ConditionComplete); got != tc.complete {
				t.Errorf("Complete is %s, want %s", got, tc.complete)
			}
			if (result.RequeueAfter > 0) != tc.again || s.trace.Status.CompletionTime.IsZero() != tc.again {
				t.Errorf("requeue after %s, completed at %s", result.RequeueAfter, s.trace.Status.CompletionTime)
			}
		})
	}
}

func TestReport(t *testing.T) {
	flow := flowio.FlowSummary{
		From: flowio.FromGuest, Summary: "Left the pod.", Ending: "Outside", Answer: "None",
		Legs: []flowio.LegSummary{{Protocol: "udp", Source: "10.0.2.2:1", Destination: "10.0.0.1:53"}, {Protocol: "tcp"}},
	}
	hostile := flowio.FlowSummary{
		From: "moon", Summary: strings.Repeat("\x1b\u202e\n", 2000), Ending: strings.Repeat("x", 99), Answer: "\xff", ViaProxy: true,
		Legs: []flowio.LegSummary{{Protocol: "\x00", Source: strings.Repeat("9", 99), Destination: ""}},
	}
	for name, tc := range map[string]struct {
		state    rulejob.Trace
		complete string
		flows    []v1alpha1.FlowVerdict
	}{
		"one connection": {
			rulejob.Trace{Summary: &flowio.Summary{Outcome: "Traced", Flows: []flowio.FlowSummary{flow}}, Result: "{}"},
			"True/Traced",
			[]v1alpha1.FlowVerdict{{From: v1alpha1.TraceOriginGuest, Protocol: "udp", Source: "10.0.2.2:1", Destination: "10.0.0.1:53", Ending: "Outside", Answer: "None", Via: v1alpha1.PortViaDirect, Summary: "Left the pod."}},
		},
		"hostile": {
			rulejob.Trace{Summary: &flowio.Summary{Outcome: "Traced", Flows: []flowio.FlowSummary{hostile}}},
			"True/Traced",
			[]v1alpha1.FlowVerdict{{
				Protocol: " ", Source: strings.Repeat("9", maxAddress-1) + "…", Ending: strings.Repeat("x", maxWord-1) + "…", Answer: "?",
				Via: v1alpha1.PortViaMesh, Summary: strings.Repeat(" ", maxText-1) + "…",
			}},
		},
		"nothing seen":     {rulejob.Trace{Summary: &flowio.Summary{Outcome: "NothingSeen", Message: "No packet."}}, "True/NothingSeen", nil},
		"unsupported":      {rulejob.Trace{Summary: &flowio.Summary{Outcome: "Unsupported"}}, "True/KernelUnsupported", nil},
		"rejected":         {rulejob.Trace{Summary: &flowio.Summary{Outcome: "Invalid"}}, "True/TraceFailed", nil},
		"without a result": {rulejob.Trace{Message: "the tracer exceeded its deadline"}, "True/TraceFailed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScope(v1alpha1.ConnectionTraceSpec{TTLSecondsAfterFinished: 60})
			s.report(created, tc.state)
			if got := s.condition(v1alpha1.ConditionComplete); got != tc.complete {
				t.Errorf("Complete is %s, want %s", got, tc.complete)
			}
			if diff := cmp.Diff(tc.flows, s.trace.Status.Flows); diff != "" {
				t.Errorf("flows (-want +got):\n%s", diff)
			}
			if got := s.trace.Status.ExpirationTime.Sub(created); got != time.Minute {
				t.Errorf("expires after %s", got)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	pod := b.LauncherPod(b.VMI("web").Obj(), "abcde").IP("10.244.0.7").Obj()
	on := &target{pod: pod, config: b.PodNAT("web", pod).Obj(), mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.UDP("dns", 53)).Obj()}
	for name, tc := range map[string]struct {
		flow v1alpha1.TracedFlow
		want flowio.Flow
		// refused is the reason of a spec that is not accepted.
		refused v1alpha1.ConditionReason
	}{
		"everything":      {},
		"named port":      {flow: v1alpha1.TracedFlow{Port: "http", Source: "10.0.0.1"}, want: flowio.Flow{From: flowio.FromOutside, Protocol: flowio.ProtocolTCP, Source: "10.0.0.1", DestinationPort: 8080}},
		"named UDP port":  {flow: v1alpha1.TracedFlow{Port: "dns"}, want: flowio.Flow{From: flowio.FromOutside, Protocol: flowio.ProtocolUDP, DestinationPort: 53}},
		"unknown port":    {flow: v1alpha1.TracedFlow{Port: "metrics"}, refused: v1alpha1.ReasonPortNotFound},
		"from the guest":  {flow: v1alpha1.TracedFlow{From: v1alpha1.TraceOriginGuest, Protocol: v1alpha1.TraceProtocolICMPv6}, want: flowio.Flow{From: flowio.FromGuest, Protocol: flowio.ProtocolICMPv6}},
		"not an address":  {flow: v1alpha1.TracedFlow{Destination: "db"}, refused: v1alpha1.ReasonInvalidSpec},
		"with both ports": {flow: v1alpha1.TracedFlow{SourcePort: 1, DestinationPort: 65535}, want: flowio.Flow{SourcePort: 1, DestinationPort: 65535}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScope(v1alpha1.ConnectionTraceSpec{Flow: tc.flow})
			got, o := requestFor(s.trace, on)
			if tc.refused != "" {
				if o == nil || o.reason != tc.refused || !o.final {
					t.Errorf("got %+v, want %s", o, tc.refused)
				}
				return
			}
			if o != nil {
				t.Fatal(o.message)
			}
			if diff := cmp.Diff(tc.want, got.Flow); diff != "" {
				t.Errorf("flow (-want +got):\n%s", diff)
			}
			if got.PodUID != string(pod.UID) || got.MaxFlows != 1 || got.DurationMilliseconds != 60_000 || got.Bridge != "k6t-eth0" {
				t.Errorf("request %+v", got)
			}
			if _, err := rulejob.BuildTrace(rulejob.Config{Namespace: "meshvm-system", TracerImage: "tracer"}, s.trace, "node-a", got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestObstacle(t *testing.T) {
	vmi := b.VMI("web").Obj()
	launcher := func(change func(*corev1.Pod)) *corev1.Pod {
		p := b.LauncherPod(vmi, "abcde").IP("10.244.0.7").Obj()
		p.Spec.NodeName = "node-a"
		change(p)
		return p
	}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want obstacle
	}{
		"running":             {launcher(func(*corev1.Pod) {}), obstacle{}},
		"deleted":             {nil, obstacle{reason: v1alpha1.ReasonPodNotFound}},
		"ended":               {launcher(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), obstacle{reason: v1alpha1.ReasonPodNotFound}},
		"without KubeVirt":    {launcher(func(p *corev1.Pod) { p.OwnerReferences = nil }), obstacle{reason: v1alpha1.ReasonNotALauncherPod, final: true}},
		"on the host network": {launcher(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), obstacle{reason: v1alpha1.ReasonNotALauncherPod, final: true}},
		"not scheduled":       {launcher(func(p *corev1.Pod) { p.Spec.NodeName = "" }), obstacle{message: "waiting"}},
		"no address":          {launcher(func(p *corev1.Pod) { p.Status.PodIPs = nil }), obstacle{message: "waiting"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := obstacleOf(&target{pod: tc.pod})
			if (got == nil) != (tc.want == obstacle{}) {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
			if got != nil && (got.reason != tc.want.reason || got.final != tc.want.final || !strings.HasPrefix(got.message, tc.want.message)) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	var l limits
	if l.exceeded("a", maxRunning-1, created) != "" || l.exceeded("a", maxRunning, created) == "" {
		t.Error("the number of running traces is not limited")
	}
	for i := range maxStarts {
		if text := l.exceeded("a", 0, created); text != "" {
			t.Fatalf("start %d: %s", i, text)
		}
		l.started("a", created)
	}
	if l.exceeded("a", 0, created.Add(startWindow-1)) == "" {
		t.Error("the number of starts is not limited")
	}
	if text := l.exceeded("b", 0, created); text != "" {
		t.Errorf("another namespace: %s", text)
	}
	if text := l.exceeded("a", 0, created.Add(startWindow)); text != "" || len(l.starts) != 0 {
		t.Errorf("after the window: %q, %d namespaces", text, len(l.starts))
	}
}
