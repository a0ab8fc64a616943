// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// completionProgram is the name of the program that kubectl runs to complete the
// arguments of the plugin. (Kubernetes: Extend kubectl with plugins.)
const completionProgram = "kubectl_complete-meshvm"

// completionScript passes the arguments to the hidden command of cobra that completes them.
const completionScript = `#!/usr/bin/env sh
exec kubectl-meshvm __complete "$@"
`

// addCompletion adds "completion install" to cobra's command "completion".
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Short = "Complete the arguments of this plugin in a shell"
			c.AddCommand(installCommand())
		}
	}
}

func installCommand() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the completion for kubectl",
		Long: `Install the completion for kubectl.

kubectl completes the arguments of a plugin with a program that is in a directory of
$PATH. This command writes the program ` + completionProgram + `. kubectl's own completion
must be enabled in the shell.`,
		Example: `  # Install the completion in the directory of the plugin
  kubectl meshvm completion install

  # Install the completion in another directory of $PATH
  kubectl meshvm completion install --dir ~/bin`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				program, err := os.Executable()
				if err != nil {
					return err
				}
				dir = filepath.Dir(program)
			}
			file := filepath.Join(dir, completionProgram)
			if err := os.WriteFile(file, []byte(completionScript), 0o755); err != nil {
				return fmt.Errorf("install the completion: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "installed %s\n", file)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "The directory of the program. Defaults to the directory of the plugin.")
	return c
}
