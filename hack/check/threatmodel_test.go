// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// minimumAttempts is the number of attempts that the threat model contains at least.
const minimumAttempts = 40

var (
	attemptRow = regexp.MustCompile(`^\| ([A-Z]\d+) \|`)
	namedTest  = regexp.MustCompile("`([a-z0-9/]+)` `(Test\\w+)`")
)

// TestThreatModel checks the tables of docs/security/threat-model.md: each attempt has
// one verdict, a result, and tests that exist. An attempt that no test can make is marked
// as such, and only such an attempt is an accepted risk without a test.
func TestThreatModel(t *testing.T) {
	text, err := os.ReadFile("../../docs/security/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		row := attemptRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		id := row[1]
		if seen[id] {
			t.Errorf("%s: duplicate number", id)
		}
		seen[id] = true
		checkAttempt(t, id, strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | "))
	}
	if len(seen) < minimumAttempts {
		t.Errorf("%d attempts, want at least %d", len(seen), minimumAttempts)
	}
}

func checkAttempt(t *testing.T, id string, cells []string) {
	t.Helper()
	if len(cells) != 5 {
		t.Errorf("%s: %d cells, want number, attempt, verdict, result and tests", id, len(cells))
		return
	}
	verdict, result, tests := strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])
	if !slices.Contains([]string{"Held", "Broken and fixed", "Accepted risk"}, verdict) {
		t.Errorf("%s: verdict %q", id, verdict)
	}
	if result == "" {
		t.Errorf("%s: no result", id)
	}
	named := namedTest.FindAllStringSubmatch(tests, -1)
	if len(named) == 0 && (verdict != "Accepted risk" || !strings.HasPrefix(tests, "none, because ")) {
		t.Errorf("%s: no test, and no reason for which none can make the attempt", id)
	}
	for _, n := range named {
		if !declares(t, n[1], n[2]) {
			t.Errorf("%s: %s does not exist in %s", id, n[2], n[1])
		}
	}
}

// declares reports whether a package contains the test.
func declares(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "\nfunc "+name+"(t *testing.T) {")
	})
}
