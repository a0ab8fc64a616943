// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/trace"
)

// traceMode is the first argument that selects the trace.
const traceMode = "trace"

// traceFlags are the arguments of a trace.
type traceFlags struct {
	proc, output, request, result string
	trace                         trace.Request
}

func parseTraceFlags(args []string, stderr io.Writer) (traceFlags, error) {
	var f traceFlags
	flags := flag.NewFlagSet("rule-writer "+traceMode, flag.ContinueOnError)
	flags.SetOutput(stderr)
	r := &f.trace
	flags.StringVar(&f.proc, "proc", netns.DefaultRoot, "mount point of the host's proc file system")
	flags.StringVar(&f.output, "output", "text", "text or json")
	flags.StringVar(&f.request, "request", "", "file with the complete request, replaces the flags that describe it")
	flags.StringVar(&f.result, "result", "", "output file for the result as JSON, limited to the size of a termination message")
	flags.StringVar(&r.PodUID, "pod-uid", "", "UID of the pod")
	flags.Func("pod-ip", "address that the pod must have; can be repeated", func(s string) error {
		r.PodIPs = append(r.PodIPs, s)
		return nil
	})
	flags.StringVar(&r.PodInterface, "pod-interface", "", "the pod's primary interface (default eth0)")
	flags.StringVar(&r.Bridge, "bridge", "", "the guest's interface (default k6t- and the pod's interface)")
	flags.Func("proxy-uid", "the proxy's user (default 1337)", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 32)
		r.Proxy.UID = uint32(n)
		return err
	})
	flags.StringVar((*string)(&r.Flow.From), "from", "", "guest, outside or pod (default any)")
	flags.StringVar((*string)(&r.Flow.Protocol), "protocol", "", "tcp, udp, icmp or icmpv6 (default tcp and udp)")
	flags.StringVar(&r.Flow.Source, "source", "", "address of the client")
	flags.StringVar(&r.Flow.Destination, "destination", "", "address that the client connects to")
	flags.Func("sport", "port of the client", port(&r.Flow.SourcePort))
	flags.Func("dport", "port that the client connects to", port(&r.Flow.DestinationPort))
	flags.IntVar(&r.MaxFlows, "flows", 1, "number of flows after which the trace ends")
	duration := flags.Duration("duration", 10*time.Second, "maximum duration")
	if err := flags.Parse(args); err != nil {
		return f, err
	}
	r.DurationMilliseconds = duration.Milliseconds()
	if f.output != "text" && f.output != "json" {
		return f, fmt.Errorf("%w: -output %q is not text or json", trace.ErrInvalidRequest, f.output)
	}
	return f, nil
}

func port(p *uint16) func(string) error {
	return func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		*p = uint16(n)
		return err
	}
}

// runTrace runs the trace mode.
func runTrace(ctx context.Context, args []string, stdout, stderr io.Writer) ruleio.ExitCode {
	f, err := parseTraceFlags(args, stderr)
	if err == nil && f.request != "" {
		f.trace, err = readTraceRequest(f.request)
	}
	if err != nil {
		fmt.Fprintln(stderr, "rule-writer trace:", err)
		return ruleio.ExitTerminal
	}
	r := trace.Run(ctx, netns.Finder{Root: f.proc}, f.trace)
	if err := f.report(r, stdout); err != nil {
		fmt.Fprintln(stderr, "rule-writer trace:", err)
		return ruleio.ExitRetryable
	}
	return traceExitCode(r.Outcome)
}

func readTraceRequest(path string) (trace.Request, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return trace.Request{}, fmt.Errorf("read the request: %w", err)
	}
	return trace.DecodeRequest(b)
}

// report writes the result to the file, if there is one, and to out.
func (f traceFlags) report(r trace.Result, out io.Writer) error {
	var errs []error
	if f.result != "" {
		b, err := r.Encode(ruleio.MaxResultBytes)
		if err == nil {
			err = os.WriteFile(f.result, b, 0o600)
		}
		errs = append(errs, err)
	}
	text := r.Text()
	if f.output == "json" {
		b, err := r.Encode(0)
		text, errs = string(b)+"\n", append(errs, err)
	}
	_, err := io.Copy(out, strings.NewReader(text))
	return errors.Join(append(errs, err)...)
}

// traceExitCode returns the exit status of an outcome. A trace without packets
// is successful.
func traceExitCode(o trace.Outcome) ruleio.ExitCode {
	switch o {
	case trace.OutcomeTraced, trace.OutcomeNothingSeen:
		return ruleio.ExitOK
	case trace.OutcomeTargetGone:
		return ruleio.ExitTargetGone
	case trace.OutcomeInvalid, trace.OutcomeUnsupported:
		return ruleio.ExitTerminal
	case trace.OutcomeBusy, trace.OutcomeFailed:
		return ruleio.ExitRetryable
	default:
		return ruleio.ExitRetryable
	}
}
