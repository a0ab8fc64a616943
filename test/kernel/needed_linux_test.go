package kernel

import (
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/test/cluster/builder"
)

// TestEveryRuleIsNeeded takes away one rule at a time: with some stock rules,
// some probe must then go another way.
func TestEveryRuleIsNeeded(t *testing.T) {
	var labs []stockLab
	for _, stock := range []struct {
		istio    istio
		kubevirt kubevirt
	}{{istioIptables, annotated}, {istioIptables, labelled}, {istioIptables, withoutList}, {istioBlind, annotated}, {istioIptables, annotatedWithoutList}} {
		l := newLab(t)
		l.writeIstio(stock.istio)
		l.addGuest()
		l.writeKubeVirt(stock.kubevirt)
		l.startServers()
		labs = append(labs, stockLab{l, stock.kubevirt})
	}
	for ci, c := range build(t, plan()).Chains {
		for ri, r := range c.Rules {
			t.Run(c.Name+", "+r.Comment, func(t *testing.T) {
				for _, l := range labs {
					table := build(t, plan())
					rules := &table.Chains[ci].Rules
					*rules = slices.Delete(*rules, ri, ri+1)
					l.in(l.pod, func() error { return nftrules.Kernel{}.Replace(table) })
					if l.misbehaves(t, l.kubevirt) {
						return
					}
				}
				t.Error("no probe noticed that the rule is not there")
			})
		}
	}
}

// TestIstioWithoutTheBridge shows that the guest's traffic passes the proxy even
// if Istio's rules do not know the bridge.
func TestIstioWithoutTheBridge(t *testing.T) {
	l := newLab(t)
	l.writeIstio(istioBlind)
	l.addGuest()
	l.writeKubeVirt(annotated)
	l.startServers()
	p := probe{name: "guest to anywhere", from: fromGuest, network: "tcp4", host: outsideIP, port: webPort}
	before := l.run(p, waitLimit)
	if before.Proxy == "15001" {
		t.Errorf("before: %s; there is nothing to repair", before.words())
	}
	l.apply(plan())
	for _, s := range situations(ipv4) {
		t.Run(s.name, func(t *testing.T) { l.expect(t, s.probe, s.after) })
	}
}

// stockLab is a lab with some of KubeVirt's rules.
type stockLab struct {
	*lab
	kubevirt kubevirt
}

// misbehaves says whether a probe ends otherwise than with our whole table.
func (l *lab) misbehaves(t *testing.T, k kubevirt) bool {
	t.Helper()
	for _, s := range situations(ipv4) {
		if got := l.run(s.probe, absenceLimit); got != s.afterFor(k) {
			t.Logf("%s: %s", s.probe, got.words())
			return true
		}
	}
	return false
}

// TestProgram runs the rule-writer as the Job does.
func TestProgram(t *testing.T) {
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
		t.Errorf("in the pod there is\n%s", listed)
	}
}

// checkStatic refuses a program that needs anything else in its image.
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

// ruleWriterProgram builds the rule-writer as its image has it.
func ruleWriterProgram(t testing.TB) string {
	t.Helper()
	b, err := builder.New(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	program, err := b.Program(t.Context(), "./cmd/rule-writer")
	if err != nil {
		t.Fatal(err)
	}
	return program
}
