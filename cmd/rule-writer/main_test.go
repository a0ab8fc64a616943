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
