// SPDX-License-Identifier: Apache-2.0

// Package trace is the verb "trace" of the plugin: the path of a connection through a
// pod, as text or as a picture.
package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"meshvm.io/meshvm/internal/cli/plugin"
	"meshvm.io/meshvm/internal/trace"
)

// maxBytes limits a result that is read from a file. The largest result of the tracer has
// 32 flows with 64 rules in each of two legs, and is smaller.
const maxBytes = 8 << 20

// verb is an invocation of the verb.
type verb struct {
	*plugin.Plugin
	liveFlags

	load string
}

// Command returns the verb.
func Command(p *plugin.Plugin) *cobra.Command {
	v := &verb{Plugin: p}
	c := &cobra.Command{
		Use:   "trace [NAME]",
		Short: "Trace a connection to or from a machine",
		Long: `Trace a connection to or from a machine.

The command creates a ConnectionTrace for the machine and waits for its result. Open a new
connection when it reports that the trace is running. An interruption ends the trace. With
--load, it shows an earlier result and needs no cluster.

As HTML, the result is a page with the picture of each connection and all rules that matched.
As SVG, it is the picture of the first connection. Both contain no script and no external
address.

The exit code is 1 if a packet was dropped or refused, or if no packet was seen. The command
needs the role "edit".`,
		Example: `  # Trace the next connection to the port http of a machine
  kubectl meshvm trace web -n shop --port http

  # Trace a connection that the guest opens, as a picture
  kubectl meshvm trace web -n shop --from guest --to 10.1.2.3:443 -o html > trace.html

  # Draw the result of an earlier trace
  kubectl -n shop get ctrace web -o jsonpath={.status.result} | kubectl meshvm trace --load - -o html > trace.html`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.CompleteName,
		RunE:              func(c *cobra.Command, args []string) error { return v.run(c.Context(), args) },
	}
	v.add(c.Flags())
	c.Flags().StringVar(&v.load, "load", "", `The file with a result as JSON, or "-" for the standard input. Excludes NAME.`)
	return c
}

func (v *verb) run(ctx context.Context, args []string) error {
	if (v.load == "") == (len(args) == 0) {
		return errors.New("give the name of a MeshedVirtualMachine, or --load with the file of a result (- for the standard input)")
	}
	if err := v.CheckFormat(formatSVG, formatHTML); err != nil {
		return err
	}
	var r *trace.Result
	var err error
	if v.load != "" {
		r, err = v.loadResult()
	} else {
		r, err = v.traceMachine(ctx, args[0])
	}
	if err != nil {
		return err
	}
	return v.Finish(&Result{Result: *r})
}

// loadResult reads the result from the file.
func (v *verb) loadResult() (*trace.Result, error) {
	b, err := v.read()
	if err != nil {
		return nil, fmt.Errorf("read the result of the trace: %w", err)
	}
	r, err := trace.DecodeResult(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.load, err)
	}
	return &r, nil
}

// read returns the content of the file.
func (v *verb) read() ([]byte, error) {
	in := v.In
	if v.load != "-" {
		f, err := os.Open(v.load)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // Nothing is written.
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxBytes+1))
	if err == nil && len(b) > maxBytes {
		err = fmt.Errorf("more than %d bytes", maxBytes)
	}
	return b, err
}
