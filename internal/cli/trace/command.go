// SPDX-License-Identifier: Apache-2.0

// Package trace is the verb "trace" of the plugin: the path of a connection through a
// pod, as text or as a picture.
package trace

import (
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
	load string
}

// Command returns the verb.
func Command(p *plugin.Plugin) *cobra.Command {
	v := &verb{Plugin: p}
	c := &cobra.Command{
		Use:   "trace --load FILE",
		Short: "Show the path of a traced connection as text or as a picture",
		Long: `Show the path of a traced connection as text or as a picture.

The command reads the result that "tracer --output json" writes, and needs no cluster. As
HTML, it is a page with the picture of each flow and all rules that matched. As SVG, it is the
picture of the first flow. Both contain no script and no external address.

The exit code is 1 if a packet was dropped or refused, or if no packet was seen.`,
		Example: `  # Show a result as text
  kubectl meshvm trace --load trace.json

  # Draw it
  kubectl meshvm trace --load trace.json -o html > trace.html

  # Draw the result of a trace that runs in a pod
  kubectl -n meshvm-system logs meshvm-trace | kubectl meshvm trace --load - -o html > trace.html`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return v.run() },
	}
	c.Flags().StringVar(&v.load, "load", "", `The file with the result as JSON, or "-" for the standard input.`)
	return c
}

func (v *verb) run() error {
	if v.load == "" {
		return errors.New("the flag --load is required: it names the file with the result of a trace, or - for the standard input")
	}
	if err := v.CheckFormat(formatSVG, formatHTML); err != nil {
		return err
	}
	b, err := v.read()
	if err != nil {
		return fmt.Errorf("read the result of the trace: %w", err)
	}
	r, err := trace.DecodeResult(b)
	if err != nil {
		return fmt.Errorf("%s: %w", v.load, err)
	}
	return v.Finish(&Result{Result: r})
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
