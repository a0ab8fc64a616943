// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"meshvm.io/meshvm/internal/cli"
	"meshvm.io/meshvm/internal/cli/plugin"
)

// TestEveryVerb fails for a verb without examples or without a result.
func TestEveryVerb(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	for _, c := range cli.New(streams).Commands() {
		if slices.Contains(withoutResult, c.Name()) {
			continue
		}
		if results[c.Name()] == nil {
			t.Errorf("%s is not in the table results", c.Name())
		}
		checkHelp(t, c)
	}
}

func checkHelp(t *testing.T, c *cobra.Command) {
	t.Helper()
	if !strings.Contains(c.Example, "kubectl meshvm "+c.Name()) {
		t.Errorf("%s has no example", c.Name())
	}
	if !strings.HasPrefix(c.Long, c.Short+".\n") {
		t.Errorf("%s: the long help does not start with the short help", c.Name())
	}
}

// run runs the plugin without a cluster.
func run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "missing"))
	t.Setenv("HOME", t.TempDir())
	streams, _, o, e := genericiooptions.NewTestIOStreams()
	code = cli.Run(t.Context(), streams, args)
	return code, o.String(), e.String()
}

// TestErrors checks that every error has a message and its exit code.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown verb", []string{"nonsense"}, `unknown command "nonsense"`},
		{"unknown flag", []string{"status", "--nonsense"}, "unknown flag: --nonsense"},
		{"two names", []string{"status", "a", "b"}, "accepts at most 1 arg"},
		{"unknown format", []string{"status", "-o", "xml"}, `invalid output format "xml": must be text, json or yaml`},
		{"name and all namespaces", []string{"status", "web", "-A"}, "exclude each other"},
		{"watch without a name", []string{"status", "-w"}, "--watch requires the name"},
		{"trace without a file", []string{"trace"}, "give the name of a MeshedVirtualMachine, or --load"},
		{"trace with an unknown origin", []string{"trace", "web", "--from", "moon"}, "must be one of Guest, Outside, Pod"},
		{"trace to a name", []string{"trace", "web", "--to", "example.com", "--server", "http://127.0.0.1:1"}, `--to "example.com" is not an address`},
		{"trace of a missing file", []string{"trace", "--load", "missing.json"}, "missing.json: no such file"},
		{"trace of another file", []string{"trace", "--load", "cli_test.go"}, "invalid trace result"},
		{"trace in an unknown format", []string{"trace", "--load", "x", "-o", "png"}, "must be text, json, yaml, svg or html"},
		{"no cluster", []string{"status", "--server", "http://127.0.0.1:1"}, "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := run(t, test.args...)
			if code != plugin.ExitError {
				t.Errorf("exit code %d, want %d", code, plugin.ExitError)
			}
			if !strings.HasPrefix(errOut, "error: ") || !strings.Contains(errOut, test.want) || out != "" {
				t.Errorf("output %q, errors %q, want an error that contains %q", out, errOut, test.want)
			}
		})
	}
}

// TestCompletion installs the program that kubectl calls, and calls it.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	code, out, errOut := run(t, "completion", "install", "--dir", dir)
	if code != plugin.ExitAsDeclared || errOut != "" {
		t.Fatalf("exit code %d, errors %q", code, errOut)
	}
	program := filepath.Join(dir, "kubectl_complete-meshvm")
	if !strings.Contains(out, program) {
		t.Errorf("output %q does not name %s", out, program)
	}
	// The plugin prints its arguments.
	if err := os.WriteFile(filepath.Join(dir, "kubectl-meshvm"), []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	called, err := exec.Command(program, "status", "").CombinedOutput()
	if err != nil || string(called) != "__complete status \n" {
		t.Errorf("the program called the plugin with %q (%v)", called, err)
	}
	if code, out, _ := run(t, "__complete", "st"); code != plugin.ExitAsDeclared || !strings.Contains(out, "status\t") {
		t.Errorf("the completion of st is %q (exit code %d)", out, code)
	}
}

// TestTrace shows recorded results.
func TestTrace(t *testing.T) {
	const results = "../trace/picture/testdata/"
	for _, test := range []struct {
		file, format string
		code         int
		want         string
	}{
		{"proxied", "text", plugin.ExitAsDeclared, "Reached the guest through the proxy\n\ntcp 10.244.0.1:20002 -> 10.244.0.8:8080"},
		{"dropped", "text", plugin.ExitDiffers, "Dropped by another writer in chain forward\n"},
		{"proxied", "html", plugin.ExitAsDeclared, "<!DOCTYPE html>"},
		{"dropped", "svg", plugin.ExitDiffers, "<svg "},
		{"proxied", "yaml", plugin.ExitAsDeclared, "outcome: Traced"},
	} {
		t.Run(test.file+" as "+test.format, func(t *testing.T) {
			code, out, errOut := run(t, "trace", "--load", results+test.file+".json", "-o", test.format)
			if code != test.code || errOut != "" || !strings.Contains(out, test.want) {
				t.Errorf("exit code %d, errors %q, output %q", code, errOut, out)
			}
		})
	}
}
