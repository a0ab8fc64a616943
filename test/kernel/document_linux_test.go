// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/ruleio"
)

// document describes the rules to people. Parts of it are generated here.
var document = filepath.Join("..", "..", "docs", "packet-path.md")

// section compares a generated section of the document with what it should be,
// or writes it with -update.
func section(t *testing.T, name, want string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	begin := "<!-- begin generated: " + name + " (go -C test test ./kernel -update) -->\n"
	const end = "<!-- end generated -->"
	head, rest, begun := strings.Cut(string(text), begin)
	got, tail, ended := strings.Cut(rest, end)
	if !begun || !ended {
		t.Fatalf("%s does not contain the generated section %q", document, name)
	}
	if *update {
		if err := os.WriteFile(document, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s is not up to date; run with -update (-want +published):\n%s", document, diff)
	}
}

// everyRuleOf is a plan of the families that uses every list.
func everyRuleOf(families ...family) ruleio.NATPlan {
	p := unmeshedPlan(families...)
	p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: resolverPort}
	for _, f := range families {
		p.Outbound.IncludeCIDRs = append(p.Outbound.IncludeCIDRs, f.outsideCIDR)
	}
	p.Gate = gatedPlan().Gate
	return p
}

// TestDocumentedRules publishes the rules of a plan that uses every list.
func TestDocumentedRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("| Chain | Rule, without counter and comment | Purpose | Defect or function |\n|---|---|---|---|\n")
	table := rulesOf(t, everyRuleOf(ipv4))
	for _, c := range table.Chains {
		for i, r := range c.Rules {
			var repairs []string
			for _, defect := range table.Purposes[c.Name][i].Defects {
				repairs = append(repairs, string(defect))
			}
			cause, words, found := strings.Cut(r.Comment, ": ")
			if !found {
				words = r.Comment
			} else if len(repairs) == 0 {
				repairs = []string{cause}
			}
			r.Counter, r.Comment = false, ""
			fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", c.Name, r.Text(), words, strings.Join(repairs, ", "))
		}
	}
	section(t, "rules", b.String())
}

// TestDocumentedTable publishes a whole table.
func TestDocumentedTable(t *testing.T) {
	section(t, "table", "```\n"+build(t, plan()).Text()+"```\n")
}
