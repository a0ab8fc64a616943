// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"debug/elf"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"

	"meshvm.io/meshvm/test/cluster/builder"
)

// TestEveryRuleIsNeeded removes one rule at a time. With some stock rules, the
// outcome of a probe must change.
func TestEveryRuleIsNeeded(t *testing.T) {
	for _, f := range []family{ipv4, ipv6} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var labs []stockLab
			for _, stock := range []struct {
				istio    istio
				kubevirt kubevirt
			}{{istioIptables, annotated}, {istioIptables, labeled}, {istioIptables, withoutList}, {istioBlind, annotated}, {istioIptables, annotatedWithoutList}} {
				c := column{stock.istio, stock.kubevirt, []family{f}}
				s := stockLab{lab: c.newLab(t)}
				for _, x := range steady(t, c) {
					s.wants = append(s.wants, expectation{x.probe, x.want})
				}
				s.wants = append(s.wants, localProbes(s.lab, f)...)
				labs = append(labs, s)
			}
			expectNeeded(t, planOf(f), labs)
		})
	}
}

// localProbes returns connections of the guest to its proxy's health port at
// local addresses of the pod: by the gateway, by the pod, by the address from
// which the proxy connects to the guest, and by a further address that is in an
// excluded network. A server listens on that port.
func localProbes(l *lab, f family) []expectation {
	l.t.Helper()
	further := netip.MustParseAddr(f.excluded).Next()
	// A longer network would also make the other addresses of the excluded network local.
	l.in(l.pod, func() error { return addTo("lo", further.String(), further.BitLen()) })
	var out []expectation
	for _, host := range []string{f.loopback, f.gateway, f.pod, f.upstream, further.String()} {
		out = append(out, expectation{probe{name: "guest to a local port", from: fromGuest, network: f.tcp(), host: host, port: healthPort}, noAnswer})
	}
	// The pod answers echo requests to all of its addresses. The kernel itself drops IPv6
	// packets to loopback from other hosts.
	out = append(out, expectation{probe{name: "guest's echo request to the proxy's address", from: fromGuest, network: "icmp", host: f.upstream}, noAnswer})
	out = append(out, expectation{probe{name: "guest's segment with contradicting flags", from: fromGuest, network: networkInvalid, host: f.outside}, noAnswer})
	return append(out, expectation{probe{name: "guest to UDP of the pod", from: fromGuest, network: f.udp(), host: f.gateway, port: ntpPort}, noAnswer})
}

// expectNeeded removes one rule of the plan's table at a time. In one of the
// labs, the outcome of a probe must change. With the complete table, every
// outcome must be the expected one, because otherwise the test cannot fail.
func expectNeeded(t *testing.T, p ruleio.NATPlan, labs []stockLab) {
	t.Helper()
	for _, l := range labs {
		l.apply(p)
		if l.misbehaves(t) {
			t.Fatal("with the complete table, the outcome of a probe is not the expected one")
		}
	}
	for ci, c := range build(t, p).Chains {
		for ri, r := range c.Rules {
			t.Run(c.Name+", "+r.Comment, func(t *testing.T) {
				table := build(t, p)
				rules := &table.Chains[ci].Rules
				*rules = slices.Delete(*rules, ri, ri+1)
				shown := slices.ContainsFunc(labs, func(l stockLab) bool {
					l.in(l.pod, func() error { return meshvmTable.Replace(table) })
					return l.misbehaves(t)
				})
				if !shown {
					t.Error("removing the rule did not change the outcome of any probe")
				}
			})
		}
	}
}

// TestIstioWithoutBridge checks that the guest's traffic passes through the
// proxy even if Istio's rules do not match the bridge.
func TestIstioWithoutBridge(t *testing.T) {
	t.Parallel()
	c := column{istioBlind, annotated, []family{ipv4}}
	l := c.newLab(t)
	p := probe{name: "guest to anywhere", from: fromGuest, network: "tcp4", host: outsideIP, port: webPort}
	if stock := l.run(p, replyTimeout{waitLimit, waitLimit}); stock.Proxy == "15001" {
		t.Errorf("before: %s; no defect to repair", stock.words())
	}
	l.apply(plan())
	l.sendAll(t, after, steady(t, c))
}

// stockLab is a lab with the expected outcomes with meshvm's table.
type stockLab struct {
	*lab
	wants []expectation
}

// expectation is a probe with its expected outcome.
type expectation struct {
	probe probe
	want  outcome
}

// misbehaves reports whether the outcome of a probe differs from its outcome
// with the complete table.
func (l stockLab) misbehaves(t *testing.T) bool {
	t.Helper()
	got := make([]outcome, len(l.wants))
	var sent sync.WaitGroup
	for i, w := range l.wants {
		sent.Go(func() { got[i] = l.run(w.probe, impatient) })
	}
	sent.Wait()
	for i, w := range l.wants {
		if got[i] == w.want {
			continue
		}
		if got[i].Failure == noAnswer.Failure && l.run(w.probe, replyTimeout{answerLimit, answerLimit}) == w.want {
			continue // The probe only timed out.
		}
		t.Logf("%s: %s", w.probe, got[i].words())
		return true
	}
	return false
}

// answerLimit is the time within which an expected answer arrives, even with
// many parallel labs.
const answerLimit = 4 * absenceLimit

// TestProgram runs the rule-writer like the Job.
func TestProgram(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	program := ruleWriterProgram(t)
	checkStatic(t, program)
	request, result := l.requestFiles(t)
	out, err := exec.Command(program, "-request", request, "-result", result, "-proc", l.proc()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ruleio.DecodeResult(text)
	if err != nil {
		t.Fatal(err)
	}
	want := build(t, plan())
	if len(got.Targets) != 1 || got.Targets[0].Outcome != ruleio.OutcomeApplied || got.Targets[0].TableDigest != want.Digest() {
		t.Errorf("result %s, want digest %s applied", text, want.Digest())
	}
	if listed := l.ourTable(); listed != want.TextIn(l.nftStyle()) {
		t.Errorf("table in the pod:\n%s", listed)
	}
}

// checkStatic fails if the program depends on other files in its image.
func checkStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s is linked dynamically", program)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes, static", program, info.Size())
}

// ruleWriterProgram builds the rule-writer as in its image, once.
func ruleWriterProgram(t testing.TB) string {
	t.Helper()
	program, err := builtRuleWriter()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// tracerProgram builds the tracer as in its image, once.
func tracerProgram(t testing.TB) string {
	t.Helper()
	program, err := builtTracer()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

var (
	builtRuleWriter = sync.OnceValues(func() (string, error) { return buildProgram("./cmd/rule-writer") })
	builtTracer     = sync.OnceValues(func() (string, error) { return buildProgram("./cmd/tracer") })
)

func buildProgram(pkg string) (string, error) {
	b, err := builder.New(io.Discard)
	if err != nil {
		return "", err
	}
	return b.Program(context.Background(), pkg)
}
