// SPDX-License-Identifier: Apache-2.0

// Package cli is the plugin of kubectl. Each verb is a package below this one: it
// reads objects, computes a result with pure functions, and prints the result. All
// output formats contain the same result.
package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"meshvm.io/meshvm/internal/cli/nat"
	"meshvm.io/meshvm/internal/cli/plugin"
	"meshvm.io/meshvm/internal/cli/status"
	"meshvm.io/meshvm/internal/cli/trace"
	"meshvm.io/meshvm/internal/version"
)

// Run runs the plugin and returns its exit code.
func Run(ctx context.Context, streams genericiooptions.IOStreams, args []string) int {
	root := New(streams) //nolint:contextcheck // cobra passes the context of ExecuteContext to the verbs.
	root.SetArgs(args)
	switch err := root.ExecuteContext(ctx); {
	case err == nil:
		return plugin.ExitAsDeclared
	case errors.Is(err, plugin.ErrDiffers):
		return plugin.ExitDiffers
	default:
		fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
		return plugin.ExitError
	}
}

// New returns the command with all verbs.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	p := plugin.New(streams)
	root := &cobra.Command{
		Use:   "kubectl-meshvm",
		Short: "Inspect MeshedVirtualMachines",
		Long: `Inspect MeshedVirtualMachines.

The first line of each output is the verdict, and the last line is the next command.
The exit code is 0 if the result is as declared, 1 if it differs, and 2 after an error.`,
		Version:           version.Version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl meshvm"},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	p.AddFlags(root.PersistentFlags())
	root.AddCommand(nat.Command(p), status.Command(p), trace.Command(p))
	addCompletion(root)
	return root
}
