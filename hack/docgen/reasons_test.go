// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sources returns the paths of conditionSources in this test.
func sources() []string {
	var out []string
	for _, file := range conditionSources {
		out = append(out, filepath.Join("..", "..", file))
	}
	return out
}

// constantsOf returns the constants of a type in the source, by value.
func constantsOf(t *testing.T, typ string) map[string]constant {
	t.Helper()
	out := map[string]constant{}
	for _, file := range sources() {
		groups, err := parseConstants(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			for _, c := range g.constants {
				if c.typ == typ {
					out[c.value] = c
				}
			}
		}
	}
	return out
}

// TestEveryReasonIsListed runs the check of "make manifests".
func TestEveryReasonIsListed(t *testing.T) {
	if _, err := conditions(sources()...); err != nil {
		t.Error(err)
	}
}

// TestEveryReasonIsReturned fails if no code uses a reason.
func TestEveryReasonIsReturned(t *testing.T) {
	used := map[string]bool{}
	for _, dir := range []string{"controllers", "internal"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					used[s.Sel.Name] = true
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for value := range constantsOf(t, "ConditionReason") {
		if !used["Reason"+value] {
			t.Errorf("no code returns the reason %s: return it, or remove it from %s", value, conditionSources)
		}
	}
}

// TestEveryObstacleIsDocumented fails if docs/using.md does not contain a
// reason with which a condition can be False, or a condition lists a reason
// that does not exist. NotALauncherPod concerns only PodNATConfigurations that
// the operator did not write.
func TestEveryObstacleIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "using.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## When it is not Ready\n")
	section, _, _ = strings.Cut(section, "\n## ")
	reasons := constantsOf(t, "ConditionReason")
	for _, c := range constantsOf(t, "ConditionType") {
		_, listed := splitReasons(c.doc)
		for sentence := range strings.SplitSeq(listed, "When ") {
			status, names, found := strings.Cut(strings.Join(strings.Fields(sentence), " "), ": ")
			if !found {
				continue
			}
			for name := range strings.SplitSeq(strings.TrimSuffix(names, "."), ", ") {
				if strings.HasPrefix(strings.TrimPrefix(name, "or "), "the reason ") {
					continue
				}
				switch _, exists := reasons[name]; {
				case !exists:
					t.Errorf("condition %s lists the reason %q, which does not exist", c.value, name)
				case status == "False" && name != "NotALauncherPod" && !strings.Contains(section, "`"+name+"`"):
					t.Errorf("docs/using.md does not contain the reason %s in the table \"When it is not Ready\"", name)
				}
			}
		}
	}
}
