// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestLinter runs the prose linter with the rules in styles/ on texts with and
// without the habits.
func TestLinter(t *testing.T) {
	t.Parallel()
	vale := os.Getenv("MESHVM_VALE")
	if vale == "" {
		t.Skip(`MESHVM_VALE is not set: "make prose" sets it to the linter that it builds`) //nolint:forbidigo // Another command runs this test.
	}
	for _, test := range []struct {
		name, text string
		want       []string // rules, in the order of the text
	}{
		{"plain.md", "The operator reports the running state. What is it? Besides, tell them apart.\n", nil},
		{"code.md", "Use `nobody` or\n\n```\nnobody says\n```\n", nil},
		{"actors.md", "Nobody knows\nwhoever it is, `x`, somebody's.\n", []string{"Actors", "Actors", "Actors"}},
		{"verbs.md", "The field says, said, told and tells.\n", []string{"Verbs", "Verbs", "Verbs", "Verbs"}},
		{"nouns.md", "# What happens\n\n- What runs is reported. What else.\n", []string{"Nouns", "Nouns", "Nouns"}},
		{"existence.md", "The rule is\nthere, and so are there others.\n", []string{"Existence", "Existence"}},
		{"words.md", "It starts at once, anew, by\nitself, and need not wait: it has not the right.\n", []string{"Words", "Words", "Words", "Words", "Words"}},
		{"possessives.md", "A table of\nits own and one of ours.\n", []string{"Possessives", "Possessives"}},
		{"bypass.md", "It goes past it. Connections past the\nproxy. Past the end.\n", []string{"Bypass", "Bypass"}},
		{"blocking.md", "It holds the pod back and lets the guest run.\n", []string{"Blocking", "Blocking"}},
		{"spelling.md", "The kubelet's namespaces, Istio's sidecar, a kubelte, istio and an anyCamelCase.\n", []string{"Spelling", "Spelling"}},
		{
			"comments.go",
			"// Package a is for nobody.\npackage a\n\n// A is\n// at once made.\nvar A = \"nobody says\" // of ours\n\n" +
				"// +kubebuilder:validation:XValidation:rule=\"true\",message=\"this says it\"\ntype B struct{}\n",
			[]string{"Actors", "Words", "Possessives", "Verbs"},
		},
		{"identifiers.go", "// Package natplan is istio in natplen.\npackage natplan\n", []string{"SpellingGo"}},
		{"comments.yaml", "# Nobody is there.\na: b\n# A kubelte\nc: kubelte\n", []string{"Actors", "Existence"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), test.name)
			if err := os.WriteFile(name, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := lintFile(t, vale, name); !slices.Equal(got, test.want) {
				t.Errorf("linter reports %q in\n%s\nwant %q", got, test.text, test.want)
			}
		})
	}
}

// lintFile returns the rules that a file violates.
func lintFile(t *testing.T, vale, name string) []string {
	t.Helper()
	out, err := exec.Command(vale, "--config=vale.ini", "--output=JSON", name).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // it reported a violation
		err = nil
	}
	if err != nil {
		t.Fatalf("vale: %v\n%s", err, out)
	}
	var alerts map[string][]struct {
		Check string
		Line  int
	}
	if err := json.Unmarshal(out, &alerts); err != nil {
		t.Fatalf("output of vale: %v\n%s", err, out)
	}
	var rules []string
	for _, alert := range alerts[name] {
		rules = append(rules, alert.Check[len("meshvm."):])
	}
	return rules
}
