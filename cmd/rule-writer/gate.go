// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"meshvm.io/meshvm/internal/gate"
	"meshvm.io/meshvm/internal/ruleio"
)

// gateMode is the first argument that selects the gate, which runs in the
// guest's pod without privileges.
const gateMode = "gate"

// runGate runs until it is terminated, or until an open gate is shut. With
// -wait it exits with 0 as soon as the gate is open, which an init container
// uses to delay the guest. With -check it checks once, for a probe.
func runGate(ctx context.Context, args []string, _, stderr io.Writer) ruleio.ExitCode {
	flags := flag.NewFlagSet("rule-writer "+gateMode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	wait := flags.Bool("wait", false, "exit with 0 as soon as the gate is open")
	once := flags.Bool("check", false, "check once and exit with 0 if the gate is open")
	if err := flags.Parse(args); err != nil {
		return ruleio.ExitTerminal
	}
	var err error
	switch {
	case *once:
		err = gate.Check(ctx)
	case *wait:
		ticker := time.NewTicker(gate.WaitInterval)
		defer ticker.Stop()
		err = gate.Wait(ctx, ticker.C, gate.Check)
	default:
		ticker := time.NewTicker(gate.Interval)
		defer ticker.Stop()
		err = gate.Watch(ctx, ticker.C, gate.Check)
	}
	if err != nil {
		fmt.Fprintln(stderr, "gate:", err)
		return ruleio.ExitRetryable
	}
	return ruleio.ExitOK
}
