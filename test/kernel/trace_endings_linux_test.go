// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/trace"
)

// shortTrace is sufficient to write a table and read all rules.
const shortTrace = 500 * time.Millisecond

// TestTraceFailures traces connections without an answer.
func TestTraceFailures(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(annotated)
	l.apply(plan())
	toMesh := probe{from: fromPeer, network: "tcp4", host: podIP, port: meshPort}
	l.expectTraceNamed(t, traceCase{
		"no proxy", toMesh, tcpTo(trace.FromOutside, podIP, meshPort),
		traced{From: trace.FromOutside, Ending: trace.EndingNoListener, Answer: trace.AnswerRefused, Legs: []trace.Ending{trace.EndingNoListener}},
		[]string{"10.244.0.8:15006 in the pod, where nothing listens", "N5: redirect mesh ports"},
	})
	l.expectTraceNamed(t, traceCase{
		"guest refuses",
		probe{from: fromPeer, network: "tcp4", host: podIP, port: sshPort},
		tcpTo(trace.FromOutside, podIP, sshPort),
		traced{
			From: trace.FromOutside, Ending: trace.EndingGuest, Answer: trace.AnswerRefused, Legs: []trace.Ending{trace.EndingGuest},
			Bypass: "meshvm: N2: direct TCP ports bypass the proxy",
		},
		[]string{"the guest refused the connection"},
	})
	l.serveTCP(l.pod, "0.0.0.0", inboundPort, l.standIn("15006", ipv4.upstream))
	l.expectTraceNamed(t, traceCase{
		"guest refuses the proxy", toMesh,
		trace.Flow{DestinationPort: meshPort},
		traced{
			From: trace.FromOutside, Ending: trace.EndingGuest, Answer: trace.AnswerRefused, ViaProxy: true,
			Legs: []trace.Ending{trace.EndingProxyInbound, trace.EndingGuest},
		},
		[]string{"proxy's inbound port 15006", "the guest refused the connection"},
	})
	l.output(l.pod, "table ip firewall {\nchain output {\ntype filter hook output priority filter; policy accept;\nip saddr 127.0.0.6 reject\n}\n}\n", "nft", "-f", "-")
	l.expectTraceNamed(t, traceCase{
		"proxy's own connection rejected", toMesh, tcpTo(trace.FromAny, "", meshPort),
		traced{
			From: trace.FromOutside, Ending: trace.EndingDropped, Answer: trace.AnswerNone, ViaProxy: true,
			Legs: []trace.Ending{trace.EndingProxyInbound, trace.EndingDropped}, Drop: "another writer: ip saddr 127.0.0.6 reject",
		},
		[]string{"was rejected in output"},
	})
	l.output(l.pod, "", "nft", "delete", "table", "ip", "firewall")
}

func (l *lab) expectTraceNamed(t *testing.T, tc traceCase) {
	t.Helper()
	t.Run(tc.name, func(t *testing.T) { l.expectTrace(t, tc) })
}

// TestTraceProxyWithoutSecondLeg traces a connection that the proxy does not
// forward.
func TestTraceProxyWithoutSecondLeg(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeIstio(istioNftables)
	l.addGuest()
	l.writeKubeVirt(labeled)
	l.apply(plan())
	l.serveTCP(l.pod, "0.0.0.0", inboundPort, answer(serverProxy))
	l.expectTrace(t, traceCase{
		probe: probe{from: fromPeer, network: "tcp4", host: podIP, port: meshPort}, flow: tcpTo(trace.FromOutside, podIP, meshPort),
		want: traced{
			From: trace.FromOutside, Ending: trace.EndingProxyInbound, Answer: trace.AnswerYes, ViaProxy: true,
			Legs: []trace.Ending{trace.EndingProxyInbound},
		},
		reports: []string{"no new connection of the proxy"},
	})
}

// TestTraceWithoutPackets checks that a trace without packets ends in time and
// reports that.
func TestTraceWithoutPackets(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := traceRequest(tcpTo(trace.FromOutside, podIP, meshPort))
	r.DurationMilliseconds = shortTrace.Milliseconds()
	got := l.trace(r, func() {})
	if got.Outcome != trace.OutcomeNothingSeen || !strings.Contains(got.Message, "tcp from outside destination 10.244.0.8") {
		t.Errorf("outcome %s: %s", got.Outcome, got.Message)
	}
	l.expectNoTraceTable(t)
}

// TestTraceCanceled cancels a trace.
func TestTraceCanceled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if got := l.traceUntil(ctx, traceRequest(trace.Flow{}), cancel); got.Outcome != trace.OutcomeNothingSeen {
		t.Errorf("outcome %s: %s", got.Outcome, got.Message)
	}
	l.expectNoTraceTable(t)
}

// TestTraceProgramSignals terminates the program by signals. After SIGKILL, the
// kernel removes the table.
func TestTraceProgramSignals(t *testing.T) {
	t.Parallel()
	program := tracerProgram(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			c := exec.Command(program, "-pod-uid", podUID, "-pod-ip", podIP, "-protocol", "tcp", "-dport", "8080", "-duration", "60s", "-proc", l.proc())
			out, err := l.runTraceProgram(c, func() {
				if err := c.Process.Signal(signal); err != nil {
					t.Error(err)
				}
			})
			if (err == nil) == (signal == syscall.SIGKILL) {
				t.Errorf("exited with %v: %s", err, out)
			}
			l.expectNoTraceTable(t)
		})
	}
}

// runTraceProgram starts the program and calls do as soon as the trace's table
// exists. It returns the output of the program.
func (l *lab) runTraceProgram(c *exec.Cmd, do func()) (string, error) {
	l.t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return "", err
	}
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = c.Wait()
	}()
	if l.awaitTraceTable(ended) {
		do()
	}
	<-ended
	return out.String(), err
}

// TestTraceProgram runs the program with both output formats.
func TestTraceProgram(t *testing.T) {
	program := tracerProgram(t)
	sidecar, ambient := column{istioIptables, annotated, []family{ipv4}}, column{ambientNftables, annotated, []family{ipv6}}
	for _, tc := range []struct {
		column       column
		output, want string
	}{
		{sidecar, "text", "  => Reached the proxy's inbound port 15006"},
		{sidecar, "json", `"ending":"Guest","answer":"Answered","viaProxy":true,"legs"`},
		{ambient, "text", "  => Reached ztunnel's inbound port 15006"},
		{ambient, "json", `"ending":"Guest","answer":"Answered","viaProxy":true,"proxy":"ztunnel","legs"`},
	} {
		t.Run(tc.column.plane()+", "+tc.output, func(t *testing.T) {
			t.Parallel()
			l := tc.column.newLab(t)
			l.apply(tc.column.startPlan())
			result := t.TempDir() + "/result"
			c := exec.Command(program, "--pod-uid", podUID, "--protocol", "tcp", "--dport", "8080", "--duration", "20s",
				"--output", tc.output, "--result", result, "--proc", l.proc())
			f := tc.column.families[0]
			out, err := l.runTraceProgram(c, func() {
				l.run(probe{from: fromPeer, network: f.tcp(), host: f.pod, port: meshPort}, replyTimeout{waitLimit, waitLimit})
			})
			if err != nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v: %s", err, out)
			}
			b, err := os.ReadFile(result)
			if err != nil || len(b) > 4096 {
				t.Errorf("result of %d bytes: %v", len(b), err)
			}
			if r, err := trace.DecodeResult(b); err != nil || len(r.Flows) != 1 {
				t.Errorf("result %s: %v", b, err)
			}
		})
	}
}

// TestTraceRemovesStaleTable finds the table of a killed trace on a kernel without owner
// tables, and the table of a running trace.
func TestTraceRemovesStaleTable(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	leave := func(comment string) {
		l.output(l.pod, fmt.Sprintf("table inet %s {\nchain prerouting {\ntype filter hook prerouting priority -350; policy accept;\ntcp dport 1 counter comment %q\n}\n}\n",
			trace.TableName, comment), "nft", "-f", "-")
	}
	r := traceRequest(tcpTo(trace.FromOutside, podIP, meshPort))
	r.DurationMilliseconds = shortTrace.Milliseconds()
	run := func() trace.Result { return trace.Run(t.Context(), netns.Finder{Root: l.proc()}, r) }

	for name, comment := range map[string]string{
		"in use":            trace.Comment(time.Now().Add(time.Minute), trace.RoleFlow),
		"another program's": "mine",
	} {
		t.Run(name, func(t *testing.T) {
			leave(comment)
			if got := run(); got.Outcome != trace.OutcomeBusy {
				t.Errorf("outcome %s: %s", got.Outcome, got.Message)
			}
			if !l.hasTraceTable() {
				t.Error("the table is gone")
			}
			l.output(l.pod, "", "nft", "delete", "table", "inet", trace.TableName)
		})
	}
	t.Run("left behind", func(t *testing.T) {
		leave(trace.Comment(time.Now().Add(-time.Second), trace.RoleFlow))
		if got := run(); got.Outcome != trace.OutcomeNothingSeen {
			t.Errorf("outcome %s: %s", got.Outcome, got.Message)
		}
		l.expectNoTraceTable(t)
	})
	t.Run("two at a time", func(t *testing.T) {
		var second trace.Result
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := l.traceUntil(ctx, traceRequest(r.Flow), func() {
			second = run()
			cancel()
		})
		if first.Outcome != trace.OutcomeNothingSeen || second.Outcome != trace.OutcomeBusy {
			t.Errorf("the first returned %s, the second returned %s: %s", first.Outcome, second.Outcome, second.Message)
		}
		l.expectNoTraceTable(t)
	})
}

// TestTraceWithoutEvents traces with conntrack events disabled. The conntrack
// table is read at the end.
func TestTraceWithoutEvents(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(annotated)
	l.startServers()
	l.apply(plan())
	l.in(l.pod, func() error { return sysctl("netfilter/nf_conntrack_events", "0") })
	l.expectTrace(t, traceCase{
		probe: probe{from: fromPeer, network: "tcp4", host: podIP, port: meshPort}, flow: tcpTo(trace.FromOutside, podIP, meshPort),
		want: traced{
			From: trace.FromOutside, Ending: trace.EndingGuest, Answer: trace.AnswerYes, ViaProxy: true,
			Legs: []trace.Ending{trace.EndingProxyInbound, trace.EndingGuest},
		},
	})
}

// TestTraceIPv6 traces connections over IPv6 to the pod itself.
func TestTraceIPv6(t *testing.T) {
	t.Parallel()
	const podIPv6, peerIPv6 = "fd00::8", "fd00::1"
	l := newLab(t)
	for ns, a := range map[*netns.Namespace][2]string{l.pod: {podInterface, podIPv6}, l.peer: {"pod", peerIPv6}} {
		l.output(ns, "", "ip", "-6", "address", "add", a[1]+"/64", "dev", a[0], "nodad")
	}
	l.output(l.pod, "table inet firewall {\nchain in {\ntype filter hook input priority filter; policy accept;\nip6 saddr fd00::1 tcp dport 22 drop\n}\n}\n", "nft", "-f", "-")
	for port, want := range map[uint16]traced{
		healthPort: {From: trace.FromOutside, Ending: trace.EndingNoListener, Answer: trace.AnswerRefused, Legs: []trace.Ending{trace.EndingNoListener}},
		sshPort: {
			From: trace.FromOutside, Ending: trace.EndingDropped, Answer: trace.AnswerNone, Legs: []trace.Ending{trace.EndingDropped},
			Drop: "another writer: ip6 saddr fd00::1 tcp dport 22 drop",
		},
	} {
		l.expectTrace(t, traceCase{
			probe: probe{from: fromPeer, network: "tcp6", host: podIPv6, port: port}, want: want,
			flow: trace.Flow{Protocol: trace.ProtocolTCP, Source: peerIPv6, Destination: podIPv6, DestinationPort: port},
		})
	}
}

// TestTraceIsBounded sends many flows that match a trace.
func TestTraceIsBounded(t *testing.T) {
	l := newLab(t)
	r := traceRequest(trace.Flow{Protocol: trace.ProtocolUDP})
	r.DurationMilliseconds, r.MaxFlows = 2*shortTrace.Milliseconds(), trace.MaxFlows
	const datagrams = 2000
	begin := time.Now()
	got := l.trace(r, func() {
		l.in(l.peer, func() error {
			for range datagrams {
				c, err := net.Dial("udp4", net.JoinHostPort(podIP, "9"))
				if err != nil {
					return err
				}
				_, _ = c.Write([]byte("?"))
				if err := c.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	})
	packets := 0
	for _, f := range got.Flows {
		packets += f.Packets
		if f.Ending != trace.EndingNoListener {
			t.Errorf("flow ended with %s: %s", f.Ending, f.Summary)
		}
	}
	t.Logf("%d datagrams resulted in %d flows with %d packets, %q", datagrams, len(got.Flows), packets, got.Notes)
	// The kernel traces 20 packets immediately and 20 more per second.
	if limit := 40 + int(20*time.Since(begin).Seconds()); len(got.Flows) == 0 || packets > limit {
		t.Errorf("%d flows with %d packets, want at most %d", len(got.Flows), packets, limit)
	}
	l.expectNoTraceTable(t)
}
