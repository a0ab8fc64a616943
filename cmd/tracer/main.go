// SPDX-License-Identifier: Apache-2.0

// Command tracer traces a flow through the rules of a virt-launcher pod on its
// node (docs/trace.md). It changes no rules and no packets.
//
//	tracer -pod-uid UID [-from ...] [-protocol ...] [...]
//	tracer -request FILE -result FILE [...]
//
// It requires the host PID namespace and the capabilities NET_ADMIN (nf_tables),
// SYS_ADMIN (setns) and SYS_PTRACE (/proc/PID/ns of other users' processes).
// The exit status is a ruleio.ExitCode.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/trace"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(int(code))
}

// options are the arguments of the program.
type options struct {
	proc, output, request, result string
	trace                         trace.Request
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var f options
	flags := flag.NewFlagSet("tracer", flag.ContinueOnError)
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

// run traces the flow that the arguments describe.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) ruleio.ExitCode {
	f, err := parseFlags(args, stderr)
	if err == nil && f.request != "" {
		f.trace, err = readRequest(f.request)
	}
	if err != nil {
		fmt.Fprintln(stderr, "tracer:", err)
		return ruleio.ExitTerminal
	}
	r := trace.Run(ctx, netns.Finder{Root: f.proc}, f.trace)
	if err := f.report(r, stdout); err != nil {
		fmt.Fprintln(stderr, "tracer:", err)
		return ruleio.ExitRetryable
	}
	return exitCode(r.Outcome)
}

func readRequest(path string) (trace.Request, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return trace.Request{}, fmt.Errorf("read the request: %w", err)
	}
	return trace.DecodeRequest(b)
}

// report writes the result to the file, if there is one, and to out.
func (f options) report(r trace.Result, out io.Writer) error {
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

// exitCode returns the exit status of an outcome. A trace without packets
// is successful.
func exitCode(o trace.Outcome) ruleio.ExitCode {
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
