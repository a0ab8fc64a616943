// SPDX-License-Identifier: Apache-2.0

// Command rule-writer writes meshvm's nftables table into the network
// namespaces of virt-launcher pods on its node and reads it back. It runs as a
// Job, reads its request from a file, and writes the result to the container's
// termination message and to standard output.
//
//	rule-writer [-request FILE] [-result FILE] [-proc DIR]
//	rule-writer gate [-wait|-check]
//
// The second form runs in the guest's pod without privileges and delays the
// guest until the pod's rules are verified (docs/start-gate.md). The first form
// requires the host PID namespace and the capabilities NET_ADMIN (nf_tables),
// SYS_ADMIN (setns) and SYS_PTRACE (/proc/PID/ns of other users' processes).
// The exit status is a ruleio.ExitCode.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulewriter"
)

// verbs are the forms of the program that its first argument selects. The file
// <verb>.go contains the verb.
var verbs = map[string]verb{
	gateMode: runGate,
}

type verb func(ctx context.Context, args []string, stdout, stderr io.Writer) ruleio.ExitCode

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// start runs the verb, or writes the rules of a request if there is none.
func start(ctx context.Context, args []string, stdout, stderr io.Writer) ruleio.ExitCode {
	if len(args) > 0 {
		if v, ok := verbs[args[0]]; ok {
			return v(ctx, args[1:], stdout, stderr)
		}
	}
	return run(ctx, args, stdout, stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) ruleio.ExitCode {
	flags := flag.NewFlagSet("rule-writer", flag.ContinueOnError)
	flags.SetOutput(stderr)
	request := flags.String("request", "/etc/meshvm/request/request.json", "file with the request")
	result := flags.String("result", "/dev/termination-log", "output file for the result")
	proc := flags.String("proc", netns.DefaultRoot, "mount point of the host's proc file system")
	if err := flags.Parse(args); err != nil {
		return ruleio.ExitTerminal
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "rule-writer: unknown verb %q, must be one of %q\n", flags.Arg(0), slices.Sorted(maps.Keys(verbs)))
		return ruleio.ExitTerminal
	}
	r, err := handle(ctx, *request, *proc)
	if err == nil {
		err = report(r, *result, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "rule-writer:", err)
		return ruleio.ExitRetryable
	}
	return r.ExitCode()
}

func handle(ctx context.Context, path, proc string) (ruleio.Result, error) {
	request, err := os.ReadFile(path)
	if err != nil {
		return ruleio.Result{}, fmt.Errorf("read the request: %w", err)
	}
	return rulewriter.Run(ctx, rulewriter.OnNode(netns.Finder{Root: proc}), request), nil
}

// report writes the result to the file and to out.
func report(r ruleio.Result, path string, out io.Writer) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", b)
	return err
}
