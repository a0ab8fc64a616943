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

// gateMode is the first argument that makes the program the gate of a pod, which
// needs no privilege at all.
const gateMode = "gate"

// runGate runs until it is told to end, or until a gate that was open is shut.
// With -check it looks once, which is what the container's start-up probe runs.
func runGate(ctx context.Context, args []string, _, stderr io.Writer) ruleio.ExitCode {
	flags := flag.NewFlagSet("rule-writer "+gateMode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	once := flags.Bool("check", false, "look once and end with 0 if the gate is open")
	if err := flags.Parse(args); err != nil {
		return ruleio.ExitTerminal
	}
	var err error
	if *once {
		err = gate.Check(ctx)
	} else {
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
