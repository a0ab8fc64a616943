// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/trace"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	valid := write("valid.json", `{"version":"`+trace.RequestVersion+`","podUID":"gone","flow":{"protocol":"tcp"}}`)
	for name, tc := range map[string]struct {
		args []string
		want ruleio.ExitCode
		// reports is a substring of the output or of the error.
		says string
	}{
		"no process of the pod as text": {[]string{"-pod-uid", "gone", "-protocol", "tcp", "-dport", "8080"}, ruleio.ExitTargetGone, "no process of the pod"},
		"no process of the pod, JSON":   {[]string{"--pod-uid", "gone", "--output", "json"}, ruleio.ExitTargetGone, `"outcome":"TargetGone"`},
		"request from a file":           {[]string{"-request", valid}, ruleio.ExitTargetGone, "no process of the pod"},
		"no pod":                        {nil, ruleio.ExitTerminal, "podUID is empty"},
		"invalid UID":                   {[]string{"-pod-uid", "../1"}, ruleio.ExitTerminal, "invalid pod UID"},
		"invalid flow":                  {[]string{"-pod-uid", "a", "-from", "moon"}, ruleio.ExitTerminal, "flow.from"},
		"invalid port":                  {[]string{"-pod-uid", "a", "-dport", "65536"}, ruleio.ExitTerminal, "dport"},
		"invalid user":                  {[]string{"-pod-uid", "a", "-proxy-uid", "envoy"}, ruleio.ExitTerminal, "proxy-uid"},
		"invalid output":                {[]string{"-pod-uid", "a", "-output", "yaml"}, ruleio.ExitTerminal, "yaml"},
		"too long":                      {[]string{"-pod-uid", "a", "-duration", "1h"}, ruleio.ExitTerminal, "duration"},
		"no such file":                  {[]string{"-request", filepath.Join(dir, "none")}, ruleio.ExitTerminal, "read the request"},
		"invalid request":               {[]string{"-request", write("bad.json", "{")}, ruleio.ExitTerminal, "invalid trace request"},
		"result not writable":           {[]string{"-pod-uid", "gone", "-result", filepath.Join(dir, "none", "x")}, ruleio.ExitRetryable, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"-proc", proc(t)}, tc.args...)
			if got := run(t.Context(), args, &out, &out); got != tc.want {
				t.Errorf("exit %d, want %d: %s", got, tc.want, &out)
			}
			if !strings.Contains(out.String(), tc.says) {
				t.Errorf("the output does not contain %q: %s", tc.says, &out)
			}
		})
	}
}

func TestRunWritesItsResult(t *testing.T) {
	result := filepath.Join(t.TempDir(), "result")
	var out bytes.Buffer
	run(t.Context(), []string{"-proc", proc(t), "-pod-uid", "gone", "-pod-ip", "10.0.0.1", "-result", result}, &out, &out)
	b, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := trace.DecodeResult(b); err != nil || r.Outcome != trace.OutcomeTargetGone || r.PodUID != "gone" {
		t.Errorf("result %s: %v", b, err)
	}
}

func TestExitCode(t *testing.T) {
	for outcome, want := range map[trace.Outcome]ruleio.ExitCode{
		trace.OutcomeTraced: ruleio.ExitOK, trace.OutcomeNothingSeen: ruleio.ExitOK, trace.OutcomeBusy: ruleio.ExitRetryable,
		trace.OutcomeUnsupported: ruleio.ExitTerminal, "Odd": ruleio.ExitRetryable,
	} {
		if got := exitCode(outcome); got != want {
			t.Errorf("%s: exit %d, want %d", outcome, got, want)
		}
	}
}

// proc returns the proc file system of a host without pods.
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
