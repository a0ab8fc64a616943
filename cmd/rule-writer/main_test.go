// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestLinksNoKubernetes checks that the privileged program does not link
// Kubernetes code.
func TestLinksNoKubernetes(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for _, no := range []string{"k8s.io/", "sigs.k8s.io/", "kubevirt.io/", "istio.io/", "meshvm.io/meshvm/api", "meshvm.io/meshvm/controllers"} {
			if strings.HasPrefix(dep, no) {
				t.Errorf("links %s", dep)
			}
		}
	}
}

func TestRun(t *testing.T) {
	gone := `{"version":"` + ruleio.RequestVersion + `","targets":[{"operation":"Remove","podUID":"gone","podIPs":["10.0.0.1"]}]}`
	for name, tc := range map[string]struct {
		request string
		args    []string
		want    ruleio.ExitCode
		// noResult is the exit status if the result cannot be written.
		noResult bool
	}{
		"no process of the pod": {request: gone, want: ruleio.ExitTargetGone},
		"invalid request":       {request: "{", want: ruleio.ExitTerminal},
		"empty annotation":      {request: "", want: ruleio.ExitTerminal},
		"unknown flag":          {args: []string{"-x"}, want: ruleio.ExitTerminal, noResult: true},
		"unknown verb":          {args: []string{"bench"}, want: ruleio.ExitTerminal, noResult: true},
		"no request":            {args: []string{"-request", "/nonexistent"}, want: ruleio.ExitRetryable, noResult: true},
		"result not writable":   {request: gone, args: []string{"-result", "/nonexistent/x"}, want: ruleio.ExitRetryable, noResult: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			request, result := filepath.Join(dir, "request.json"), filepath.Join(dir, "result")
			if err := os.WriteFile(request, []byte(tc.request), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			args := append([]string{"-request", request, "-result", result, "-proc", proc(t)}, tc.args...)
			if got := run(context.Background(), args, &stdout, &stderr); got != tc.want {
				t.Errorf("exit %d, want %d: %s%s", got, tc.want, &stdout, &stderr)
			}
			written, err := os.ReadFile(result)
			if (err != nil) != tc.noResult {
				t.Fatalf("result file: %v", err)
			}
			if tc.noResult {
				if stderr.Len() == 0 {
					t.Error("standard error is empty")
				}
				return
			}
			r, err := ruleio.DecodeResult(written)
			if err != nil || r.RequestDigest != ruleio.DigestOf([]byte(tc.request)) {
				t.Errorf("result %+v, %v", r, err)
			}
			if strings.TrimSpace(stdout.String()) != string(written) {
				t.Errorf("standard output %q, want the result %q", &stdout, written)
			}
		})
	}
}

// TestEveryVerb compares the files of this directory with the table of verbs, and both
// with the usage in the package comment and with the documentation.
func TestEveryVerb(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	inFiles := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".go")
		if name == "main" || strings.HasSuffix(name, "_test") {
			continue
		}
		inFiles[name] = true
		if verbs[name] == nil {
			t.Errorf("%s: the table of verbs does not contain %q", file, name)
		}
	}
	usage, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range verbs {
		if !inFiles[name] {
			t.Errorf("verb %s is not in the file %s.go", name, name)
		}
		if _, err := os.Stat(name + "_test.go"); err != nil {
			t.Errorf("verb %s has no test: %v", name, err)
		}
		if !strings.Contains(string(usage), "\n//\trule-writer "+name+" ") {
			t.Errorf("the package comment of main.go does not contain the usage of %s", name)
		}
		if !documented(t, "`rule-writer "+name+"`") {
			t.Errorf("no page in docs/ contains `rule-writer %s`", name)
		}
		var stderr bytes.Buffer
		// The usage is printed by the verb, not by the default form.
		if code := start(t.Context(), []string{name, "-h"}, &stderr, &stderr); code != ruleio.ExitTerminal || !strings.Contains(stderr.String(), "rule-writer "+name) {
			t.Errorf("%s -h: exit %d, %s", name, code, &stderr)
		}
	}
}

// documented reports whether a page other than the developer guide contains a text.
func documented(t *testing.T, text string) (found bool) {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		found = found || filepath.Base(page) != "developer-guide.md" && strings.Contains(string(b), text)
	}
	return found
}

// proc is the proc file system of a host without pods.
func proc(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "1", "ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"cgroup", "ns/net"} {
		if err := os.WriteFile(filepath.Join(root, "1", f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
