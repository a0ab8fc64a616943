// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules/plantest"
	"meshvm.io/meshvm/internal/ruleio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenPlans have golden files in testdata in the format of an nft listing.
var goldenPlans = plantest.All()

func fullPlan() ruleio.NATPlan { return plantest.Full() }

func dualPlan() ruleio.NATPlan { return plantest.Dual() }

func with(change func(p *ruleio.NATPlan)) ruleio.NATPlan { return plantest.With(change) }

func TestBuildGolden(t *testing.T) {
	for name, p := range goldenPlans {
		t.Run(name, func(t *testing.T) {
			table, err := Build(p)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(table.Text()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), table.Text()); diff != "" {
				t.Errorf("run with -update if the change is intended (-golden +got):\n%s", diff)
			}
		})
	}
}

// TestBuildInvariants checks invariants of tables for all plans.
func TestBuildInvariants(t *testing.T) {
	for name, p := range goldenPlans {
		t.Run(name, func(t *testing.T) {
			table, err := Build(p)
			if err != nil {
				t.Fatal(err)
			}
			used := map[string]bool{}
			for _, c := range table.Chains {
				if c.Priority == -100 || c.Priority == 100 || c.Priority == -150 {
					t.Errorf("chain %s has the priority of KubeVirt's and Istio's chains", c.Name)
				}
				for i, r := range c.Rules {
					checkRule(t, table.Table, c, r, table.Purposes[c.Name][i], used)
				}
			}
			for _, s := range table.Sets {
				if len(s.Elements) == 0 {
					t.Errorf("set %s is empty", s.Name)
				}
				if !used[s.Name] {
					t.Errorf("no rule uses set %s", s.Name)
				}
			}
		})
	}
}

// filterChains are the chains whose rules may filter.
var filterChains = []string{string(nft.HookForward), chainLocalPrerouting, chainLocalInput}

// checkFilter reports whether the rule filters. Only rules of some chains may.
func checkFilter(t *testing.T, c nft.Chain, r nft.Rule, total Total) bool {
	t.Helper()
	filters := r.Statement.Kind == nft.StatementDrop || r.Statement.Kind == nft.StatementAccept
	if filters != slices.Contains(filterChains, c.Name) {
		t.Errorf("chain %s has the rule %s", c.Name, r.Text())
	}
	if counted := total == TotalDropped; counted && r.Statement.Kind != nft.StatementDrop || !counted && r.Statement.Kind == nft.StatementDrop && c.Name != chainLocalInput {
		t.Errorf("dropped packets are counted as %q: %s", total, r.Text())
	}
	return filters
}

func impliedBy(m nft.Match) nft.Match {
	need, _ := m.Field.Implied()
	return need
}

func checkRule(t *testing.T, table nft.Table, c nft.Chain, r nft.Rule, purpose Purpose, used map[string]bool) {
	t.Helper()
	if !r.Counter || r.Comment == "" || len(r.Comment) > nft.MaxComment || strings.Contains(r.Comment, `"`) {
		t.Errorf("rule does not have a counter, or has a comment that nft cannot read: %s", r.Text())
	}
	for _, defect := range purpose.Defects {
		if !strings.Contains(r.Comment, string(defect)) || defect.Summary() == "" {
			t.Errorf("comment does not name defect %s: %s", defect, r.Text())
		}
	}
	families := map[nft.Match]bool{}
	for _, m := range r.Matches {
		for _, family := range []nft.Match{m, impliedBy(m)} {
			if family == ipv4 || family == ipv6 {
				families[family] = true
			}
		}
		if m.Set != "" && table.Set(m.Set) == nil {
			t.Errorf("no set %s: %s", m.Set, r.Text())
		}
		used[m.Set] = true
	}
	filters := checkFilter(t, c, r, purpose.Total)
	marks := r.Statement.Kind == nft.StatementMark || r.Statement.Kind == nft.StatementConntrackMark
	if len(families) > 1 || len(families) == 0 && !filters && !marks {
		t.Errorf("rule does not match exactly one family: %s", r.Text())
	}
}

func TestBuildDoesNotModifyPlan(t *testing.T) {
	p := fullPlan()
	if _, err := Build(p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullPlan(), p); diff != "" {
		t.Errorf("the plan changed (-before +after):\n%s", diff)
	}
}

func TestDigest(t *testing.T) {
	digests := map[string]string{}
	for name, p := range goldenPlans {
		table, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Build(p)
		if err != nil {
			t.Fatal(err)
		}
		if table.Digest() != again.Digest() {
			t.Errorf("%s: digests of equal plans differ", name)
		}
		if other, taken := digests[table.Digest()]; taken {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		digests[table.Digest()] = name
	}
}

// TestUnknownSet checks that a rule with a set that addSets does not define is
// an error and is not omitted.
func TestUnknownSet(t *testing.T) {
	b := builder{plan: fullPlan(), sets: map[string]nft.Set{}, known: map[string]bool{}, used: map[string]bool{}}
	b.addSets()
	if rules := b.keep(Rule{Matches: []nft.Match{lookup(nft.FieldTCPDestinationPort, SetInboundMeshTCP)}}); len(rules) != 1 || b.errs != nil {
		t.Fatalf("a rule with a known set: %d rules, errors %v", len(rules), b.errs)
	}
	b.keep(Rule{Matches: []nft.Match{lookup(nft.FieldTCPDestinationPort, "inbound_mesh")}, Comment: "misspelled"})
	if err := errors.Join(b.errs...); !errors.Is(err, errUnknownSet) || !strings.Contains(err.Error(), "misspelled") {
		t.Errorf("a rule with an unknown set: error %v, want errUnknownSet with the rule's comment", err)
	}
}
