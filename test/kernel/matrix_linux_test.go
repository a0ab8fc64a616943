// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/ruleio"
)

// column is a lab of the matrix.
type column struct {
	istio    istio
	kubevirt kubevirt
	families []family
}

// columns returns all columns of the matrix.
func columns() []column {
	var out []column
	for _, i := range []istio{
		istioIptables, istioNftables, istioNone,
		{name: istioIptables.name, ambient: true},
		{name: istioNftables.name, ambient: true, native: true},
		{name: istioNone.name, ambient: true, none: true},
	} {
		i.dns = !i.none
		for _, k := range kubevirts {
			for _, families := range [][]family{{ipv4}, {ipv6}, {ipv4, ipv6}} {
				out = append(out, column{i, k, families})
			}
		}
	}
	return out
}

// words returns the conditions of matrix.txt that apply to flows of a family.
func (c column) words(f family) []string {
	return append(c.kubevirt.words(), c.istio.name, f.name, c.breadth(), c.plane())
}

func (c column) plane() string {
	if c.istio.ambient {
		return "ambient"
	}
	return "sidecar"
}

func (c column) breadth() string {
	if len(c.families) > 1 {
		return "dual"
	}
	return "single"
}

func (c column) String() string {
	families := "dual"
	if len(c.families) == 1 {
		families = c.families[0].name
	}
	return fmt.Sprintf("Istio %s, KubeVirt %s, %s, %s", c.istio.name, c.kubevirt.name, families, c.plane())
}

// newLab creates the lab of a column.
func (c column) newLab(t testing.TB) *lab {
	t.Helper()
	if c.istio.ambient {
		return newAmbientLab(t, c.istio, c.kubevirt, c.families...)
	}
	l := newLab(t, c.families...)
	l.writeIstio(c.istio)
	l.addGuest()
	l.writeKubeVirt(c.kubevirt)
	l.startServers()
	return l
}

// startPlan is the initial plan of the column's VM. changedPlan is the plan
// after the change. matrix.txt describes both.
func (c column) startPlan() ruleio.NATPlan {
	p := planOf(c.families...)
	if c.istio.ambient {
		direct := p.Inbound.DirectTCP
		p = ambientPlan(c.families...)
		p.Inbound.DirectTCP = direct
	}
	p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect}
	if c.istio.dns {
		p.DNS.CapturePort = resolverPort
	}
	return p
}

func (c column) changedPlan() ruleio.NATPlan {
	p := c.startPlan()
	p.Inbound.Mesh = []uint16{meshPort, latePort}
	p.Outbound.ExcludePorts = ruleio.Ports(databasePort, lateDatabasePort, adminPort)
	return p
}

// TestMatrix sends all flows of matrix.txt in all columns: with the stock
// rules, with meshvm's table, and with meshvm's table after a change.
func TestMatrix(t *testing.T) {
	var r report
	t.Run("column", func(t *testing.T) {
		for _, c := range columns() {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				c.send(t, &r)
			})
		}
	})
	r.check(t)
}

// send sends all flows of a column.
func (c column) send(t *testing.T, r *report) {
	t.Helper()
	l := c.newLab(t)
	foreign := l.foreignTables()
	r.add(c, before, l.sendAll(t, before, cells(t, c, before)))
	l.apply(c.startPlan())
	r.add(c, started, l.sendAll(t, started, cells(t, c, started)))
	l.apply(c.changedPlan())
	r.add(c, after, l.sendAll(t, after, cells(t, c, after)))
	if diff := cmp.Diff(foreign, l.foreignTables()); diff != "" {
		t.Errorf("KubeVirt's or Istio's rules changed (-before +after):\n%s", diff)
	}
	if program, err := envoyProgram(); err == nil && !c.istio.ambient {
		r.addEnvoy(l.throughEnvoy(t, program, c))
	}
}

// observation is a cell with its actual outcome.
type observation struct {
	cell
	got outcome
}

// sendAll sends flows in parallel and compares the outcomes.
func (l *lab) sendAll(t *testing.T, when string, cells []cell) []observation {
	t.Helper()
	seen := make([]observation, len(cells))
	var sent sync.WaitGroup
	for i, x := range cells {
		sent.Go(func() {
			seen[i] = observation{x, l.runFor(x.want, x.probe)}
		})
	}
	sent.Wait()
	for _, s := range seen {
		if s.got != s.want {
			t.Errorf("%s, %s: %s, want %s", when, s.probe, s.family.end(s.got, s.probe), s.end.text)
		}
	}
	return seen
}

// Results of listing the rules.
var (
	// unreadable is the output of iptables, the tool that Istio's documentation
	// recommends, if it cannot show the rules.
	unreadable = outcome{Failure: "iptables-cannot-list-them"}
	// proven means that the rule-writer has read meshvm's table back and that it
	// matches the plan.
	proven = outcome{Server: "read back"}
)

// rules lists the rules with the rule-writer if meshvm's table exists,
// otherwise with iptables.
func (l *lab) rules(p probe) outcome {
	l.t.Helper()
	if l.applied != nil {
		if r := l.request(ruleio.OperationVerify, l.applied); r.Outcome != ruleio.OutcomeVerified {
			return outcome{Failure: string(r.Outcome)}
		}
		return proven
	}
	program := "iptables"
	if familyOf(p.host).number == ipv6.number {
		program = "ip6tables"
	}
	var out []byte
	err := l.pod.Do(func() error {
		var err error
		out, err = exec.Command(program, "-t", "nat", "-S").CombinedOutput()
		return err
	})
	if err != nil && strings.Contains(string(out), "incompatible") {
		return unreadable
	}
	return outcome{Failure: strings.ReplaceAll(fmt.Sprintf("%s %v", out, err), " ", "-")}
}

// TestMatrixIsComplete checks that every line of matrix.txt applies to a column,
// and that every repair fixes a flow that fails in a column.
func TestMatrixIsComplete(t *testing.T) {
	used, repairs := map[*end]bool{}, map[*flow]bool{}
	for _, c := range columns() {
		was := map[string]outcome{}
		key := func(x cell) string { return x.flow.name + x.family.name }
		for _, when := range []string{before, started, after} {
			for _, x := range cells(t, c, when) {
				used[x.end] = true
				switch when {
				case before:
					was[key(x)] = x.want
				case after:
					repairs[x.flow] = repairs[x.flow] || was[key(x)] != x.want
				}
			}
		}
	}
	for _, x := range matrix(t) {
		for when, ends := range x.ends {
			for _, e := range ends {
				if !used[e] {
					t.Errorf("%s: no column for the line %s %s: %s", x.name, when, strings.Join(e.conditions, ", "), e.text)
				}
			}
		}
		if len(x.ends[before]) == 0 || len(x.ends[after]) == 0 {
			t.Errorf("%s: matrix.txt does not specify the outcome before and after", x.name)
		}
		if x.repair != "" && !repairs[x] {
			t.Errorf("%s: %s does not repair a flow", x.name, x.repair)
		}
	}
	for _, n := range []string{"N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8", "N9", "N10"} {
		if !slices.ContainsFunc(matrix(t), func(x *flow) bool { return x.repair == n }) {
			t.Errorf("no flow demonstrates %s", n)
		}
	}
}
