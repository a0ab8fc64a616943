// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/trace"
)

// traceRequest returns a trace of the lab's pod that ends with the first flow.
func traceRequest(f trace.Flow) trace.Request {
	return trace.Request{
		Version: trace.RequestVersion, PodUID: podUID, PodIPs: []string{podIP}, PodInterface: podInterface, Bridge: bridge,
		Flow: f, DurationMilliseconds: waitLimit.Milliseconds(),
	}
}

// trace runs a trace and calls do as soon as the trace's table exists.
func (l *lab) trace(r trace.Request, do func()) trace.Result {
	l.t.Helper()
	return l.traceUntil(l.t.Context(), r, do)
}

func (l *lab) traceUntil(ctx context.Context, r trace.Request, do func()) trace.Result {
	l.t.Helper()
	var result trace.Result
	ended := make(chan struct{})
	root := l.proc()
	go func() {
		defer close(ended)
		result = trace.Run(ctx, netns.Finder{Root: root}, r)
	}()
	if l.awaitTraceTable(ended) {
		do()
	}
	<-ended
	return result
}

// awaitTraceTable waits until the trace's table exists, or the trace has ended
// without a table.
func (l *lab) awaitTraceTable(ended <-chan struct{}) bool {
	l.t.Helper()
	limit, cancel := context.WithTimeout(l.t.Context(), waitLimit)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !l.hasTraceTable() {
		select {
		case <-ended:
			return false
		case <-limit.Done():
			l.t.Error("the trace has not written a table")
			return false
		case <-poll.C:
		}
	}
	return true
}

func (l *lab) hasTraceTable() bool {
	l.t.Helper()
	return strings.Contains(l.output(l.pod, "", "nft", "list", "tables"), "table inet "+trace.TableName)
}

// expectNoTraceTable checks that the table is removed.
func (l *lab) expectNoTraceTable(t *testing.T) {
	t.Helper()
	if l.hasTraceTable() {
		t.Errorf("the trace has not removed its table:\n%s", l.output(l.pod, "", "nft", "list", "table", "inet", trace.TableName))
	}
}

// traced is the expected report of a flow.
type traced struct {
	From     trace.From
	Ending   trace.Ending
	Answer   trace.Answer
	ViaProxy bool
	Proxy    string
	// Legs are the endings of the legs.
	Legs []trace.Ending
	// Bypass and Drop are the deciding rules, by their writer and comment or
	// text.
	Bypass, Drop string
}

func tracedOf(f trace.FlowReport) traced {
	out := traced{From: f.From, Ending: f.Ending, Answer: f.Answer, ViaProxy: f.ViaProxy, Proxy: f.Proxy, Bypass: named(f.BypassedBy), Drop: named(f.DroppedBy)}
	for _, l := range f.Legs {
		out.Legs = append(out.Legs, l.Ending)
	}
	return out
}

func named(r *trace.RuleRef) string {
	switch {
	case r == nil:
		return ""
	case r.Comment != "":
		return r.Writer + ": " + r.Comment
	default:
		return r.Writer + ": " + r.Text
	}
}

// traceCase is a flow with its expected report.
type traceCase struct {
	name  string
	probe probe
	flow  trace.Flow
	want  traced
	// reports are substrings of the summary.
	reports []string
}

func tcpTo(from trace.From, host string, port uint16) trace.Flow {
	return trace.Flow{From: from, Protocol: trace.ProtocolTCP, Destination: host, DestinationPort: port}
}

// repaired returns flows of a family with meshvm's table.
func (c column) repaired(f family) []traceCase {
	proxied := func(from trace.From, by, end trace.Ending) traced {
		return traced{From: from, Ending: end, Answer: trace.AnswerYes, ViaProxy: true, Proxy: c.proxyName(), Legs: []trace.Ending{by, end}}
	}
	bypass := func(from trace.From, end trace.Ending, rule string) traced {
		return traced{From: from, Ending: end, Answer: trace.AnswerYes, Legs: []trace.Ending{end}, Bypass: "meshvm: " + rule}
	}
	proxy := cmp.Or(c.proxyName(), "proxy")
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	out := []traceCase{
		{
			"client to a mesh port",
			probe{from: fromPeer, network: f.tcp(), host: f.pod, port: meshPort},
			tcpTo(trace.FromOutside, f.pod, meshPort),
			proxied(trace.FromOutside, trace.EndingProxyInbound, trace.EndingGuest),
			[]string{proxy + "'s inbound port 15006", "reached the guest at " + at(f.guest, meshPort), "the guest answered"},
		},
		{
			"client to SSH",
			probe{from: fromPeer, network: f.tcp(), host: f.pod, port: sshPort},
			tcpTo(trace.FromOutside, f.pod, sshPort),
			bypass(trace.FromOutside, trace.EndingGuest, "N2: direct TCP ports bypass the proxy"),
			[]string{"bypassing the proxy", "N2: direct TCP ports", "the guest answered"},
		},
		{
			"client to a UDP port",
			probe{from: fromPeer, network: f.udp(), host: f.pod, port: udpPort},
			trace.Flow{Protocol: trace.ProtocolUDP, DestinationPort: udpPort},
			bypass(trace.FromOutside, trace.EndingGuest, "N3: forward UDP ports to the guest"),
			[]string{"N3: forward UDP ports"},
		},
		{
			"guest to anywhere",
			probe{from: fromGuest, network: f.tcp(), host: f.outside, port: webPort},
			tcpTo(trace.FromGuest, f.outside, webPort),
			proxied(trace.FromGuest, trace.EndingProxyOutbound, trace.EndingOutside),
			[]string{proxy + "'s outbound port 15001", "own connection to " + at(f.outside, webPort) + " left the pod"},
		},
		{
			"guest to anywhere, loosely described",
			probe{from: fromGuest, network: f.tcp(), host: f.outside, port: webPort},
			trace.Flow{},
			proxied(trace.FromGuest, trace.EndingProxyOutbound, trace.EndingOutside),
			[]string{proxy + "'s outbound port 15001"},
		},
		{
			"guest to an excluded port",
			probe{from: fromGuest, network: f.tcp(), host: f.outside, port: databasePort},
			tcpTo(trace.FromGuest, "", databasePort),
			bypass(trace.FromGuest, trace.EndingOutside, "N1: guest's connections to excluded ports bypass the proxy"),
			[]string{"Bypassed the proxy", "N1: guest's connections to excluded ports"},
		},
		{
			"kubelet to the proxy's health port",
			probe{from: fromPeer, network: f.tcp(), host: f.pod, port: healthPort},
			tcpTo(trace.FromOutside, "", healthPort),
			traced{From: trace.FromOutside, Ending: trace.EndingPod, Answer: trace.AnswerYes, Legs: []trace.Ending{trace.EndingPod}},
			[]string{"Reached a process in the pod that listens at " + at(f.pod, healthPort)},
		},
		{
			"process in the pod to loopback",
			probe{from: fromPod, network: f.tcp(), host: f.loopback, port: meshPort},
			tcpTo(trace.FromPod, f.loopback, meshPort),
			traced{From: trace.FromPod, Ending: trace.EndingGuest, Answer: trace.AnswerYes, Legs: []trace.Ending{trace.EndingGuest}},
			[]string{"Reached the guest at " + at(f.guest, meshPort) + ", by meshvm's rule"},
		},
	}
	if f.number == ipv6.number {
		out[len(out)-1].want = traced{
			From: trace.FromPod, Ending: trace.EndingNoListener, Answer: trace.AnswerRefused, Legs: []trace.Ending{trace.EndingNoListener},
		}
		out[len(out)-1].reports = []string{"delivered to [::1]:8080 in the pod, where nothing listens", "N5, closed: keep all other local connections local"}
	}
	if !c.istio.ambient {
		return out
	}
	hbone := probe{from: fromPeer, network: f.tcp(), host: f.pod, port: meshPort, tunnel: true}
	kubelet := probe{from: fromPeer, network: f.tcp(), host: f.pod, port: meshPort, source: f.kubelet}
	return append(
		slices.DeleteFunc(out, func(tc traceCase) bool { return tc.probe.port == healthPort }),
		traceCase{
			"client to a mesh port, by HBONE", hbone, tcpTo(trace.FromOutside, f.pod, tunnelPort),
			proxied(trace.FromOutside, trace.EndingProxyInbound, trace.EndingGuest),
			[]string{"Reached ztunnel's inbound HBONE port 15008", "likely its second leg: it reached the guest at " + at(f.guest, meshPort)},
		},
		traceCase{
			"kubelet's probe of a mesh port", kubelet, tcpTo(trace.FromOutside, f.pod, meshPort),
			bypass(trace.FromOutside, trace.EndingGuest, "N6: the kubelet's probes of exposed ports reach the guest directly"),
			[]string{"bypassing the proxy", "N6: the kubelet's probes", "the guest answered"},
		},
	)
}

// proxyName returns the name in a report of the proxy that accepted a flow.
func (c column) proxyName() string {
	if c.istio.ambient {
		return "ztunnel"
	}
	return ""
}

// TestTrace traces flows with the stock rules and with meshvm's rules.
func TestTrace(t *testing.T) {
	both := []family{ipv4, ipv6}
	for _, c := range []column{
		{istioIptables, annotated, both},
		{istioNftables, annotated, both},
		{ambientIptables, annotated, both},
		{ambientNftables, annotated, both},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := c.newLab(t)
			if !c.istio.ambient {
				t.Run("stock, client to an excluded inbound port", func(t *testing.T) { l.traceRefused(t) })
				t.Run("stock, guest to an excluded port", func(t *testing.T) { l.traceStockOutbound(t) })
			}
			l.apply(c.startPlan())
			before := l.ruleset()
			for _, f := range c.families {
				for _, tc := range c.repaired(f) {
					t.Run(f.name+", "+tc.name, func(t *testing.T) { l.expectTrace(t, tc) })
				}
			}
			if diff := gocmp.Diff(before, l.ruleset()); diff != "" {
				t.Errorf("the traces changed the rules (-before +after):\n%s", diff)
			}
			l.writeFirewall()
			for _, f := range c.families {
				t.Run(f.name+", dropped", func(t *testing.T) { l.traceDropped(t, f) })
			}
		})
	}
}

func (l *lab) expectTrace(t *testing.T, tc traceCase) {
	t.Helper()
	limit := replyTimeout{waitLimit, waitLimit}
	if tc.want.Answer == trace.AnswerNone {
		limit = impatient
	}
	r := l.trace(traceRequest(tc.flow), func() { l.run(tc.probe, limit) })
	l.expectNoTraceTable(t)
	t.Logf("\n%s", r.Text())
	record(t, r)
	if r.Outcome != trace.OutcomeTraced || len(r.Flows) != 1 {
		t.Fatalf("outcome %s with %d flows", r.Outcome, len(r.Flows))
	}
	if diff := gocmp.Diff(tc.want, tracedOf(r.Flows[0])); diff != "" {
		t.Errorf("flow (-want +got):\n%s", diff)
	}
	for _, part := range tc.reports {
		if !strings.Contains(r.Flows[0].Summary, part) {
			t.Errorf("the summary does not contain %q: %s", part, r.Flows[0].Summary)
		}
	}
}

// recordVariable is the name of an environment variable with a directory for the
// results as JSON. internal/trace/picture/testdata contains some of them.
const recordVariable = "MESHVM_TRACE_RECORD"

func record(t *testing.T, r trace.Result) {
	t.Helper()
	dir := os.Getenv(recordVariable)
	if dir == "" {
		return
	}
	b, err := r.Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+".json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// traceRefused checks that a trace reports which component refuses a port that
// Istio accepts and KubeVirt does not forward.
func (l *lab) traceRefused(t *testing.T) {
	t.Helper()
	l.expectTrace(t, traceCase{
		probe: probe{from: fromPeer, network: "tcp4", host: podIP, port: directPort},
		flow:  tcpTo(trace.FromOutside, podIP, directPort),
		want: traced{
			From: trace.FromOutside, Ending: trace.EndingNoListener, Answer: trace.AnswerRefused,
			Legs: []trace.Ending{trace.EndingNoListener},
		},
		reports: []string{"efused by the pod itself", "nothing listens", "Istio's rule \"tcp dport 9000 return\""},
	})
}

// writeFirewall writes a rule of another program that drops packets.
func (l *lab) writeFirewall() {
	l.t.Helper()
	l.output(l.pod, `table inet firewall {
		chain forward {
			type filter hook forward priority filter; policy accept;
			tcp dport 22 drop comment "no remote access"
		}
	}
	`, "nft", "-f", "-")
}

// traceDropped checks that a trace reports the rule of another program that
// drops the packet.
func (l *lab) traceDropped(t *testing.T, f family) {
	t.Helper()
	l.expectTrace(t, traceCase{
		probe: probe{from: fromPeer, network: f.tcp(), host: f.pod, port: sshPort},
		flow:  tcpTo(trace.FromOutside, f.pod, sshPort),
		want: traced{
			From: trace.FromOutside, Ending: trace.EndingDropped, Answer: trace.AnswerNone,
			Legs: []trace.Ending{trace.EndingDropped}, Drop: "another writer: no remote access",
		},
		reports: []string{"dropped in forward", "tcp dport 22 drop"},
	})
}

// traceStockOutbound checks that a trace reports Istio's rule that redirects
// the guest's connection to an excluded port.
func (l *lab) traceStockOutbound(t *testing.T) {
	t.Helper()
	l.expectTrace(t, traceCase{
		probe: probe{from: fromGuest, network: "tcp4", host: outsideIP, port: databasePort},
		flow:  tcpTo(trace.FromGuest, "", databasePort),
		want: traced{
			From: trace.FromGuest, Ending: trace.EndingOutside, Answer: trace.AnswerYes, ViaProxy: true,
			Legs: []trace.Ending{trace.EndingProxyOutbound, trace.EndingOutside},
		},
		reports: []string{"redirected by Istio's rule \"meta l4proto tcp redirect to :15001\""},
	})
}
