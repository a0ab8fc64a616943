// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"meshvm.io/meshvm/internal/cli"
)

// outputs is the directory with real output of the plugin: a file VERB.txt for each verb.
const outputs = "docs/cli/output"

// cliDocs writes a page for each verb of the kubectl plugin, and an index.
func cliDocs() error {
	root := cli.New(genericiooptions.NewTestIOStreamsDiscard())
	var index strings.Builder
	fmt.Fprintf(&index, "# kubectl plugin\n\n%s\n\n%s\n\n| Verb | Purpose |\n|---|---|\n", installation, exitCodes)
	for _, c := range verbs(root) {
		fmt.Fprintf(&index, "| [%s](%s.md) | %s |\n", c.Name(), c.Name(), cell(c.Short))
		text, err := verbPage(c)
		if err != nil {
			return err
		}
		if err := write(filepath.Join("docs", "cli", c.Name()+".md"), text); err != nil {
			return err
		}
	}
	fmt.Fprintf(&index, "\nAll verbs have the flags of `kubectl` for the connection, and these:\n\n%s", flagTable(root.PersistentFlags(), "namespace", "context", "kubeconfig", "as", "output"))
	return write(filepath.Join("docs", "cli", "README.md"), index.String())
}

const installation = "The plugin shows the state of MeshedVirtualMachines. Install it from the source, and then the completion of its arguments:\n\n" +
	"```bash\ngo install ./cmd/kubectl-meshvm\nkubectl meshvm completion install\n```\n\n" +
	"The directory of Go programs, usually `~/go/bin`, must be in `$PATH`. The verbs need only the role `view` of a namespace,\n" +
	"unless their pages state otherwise. The roles of KubeVirt and Istio decide which of their objects the plugin can read."

const exitCodes = "The first line of each output is the verdict, and the last line is the next command. `-o json` and `-o yaml` contain the\n" +
	"same result. The exit code is 0 if the state is as declared, 1 if it differs, and 2 after an error. The variable\n" +
	"`NO_COLOR` disables colors."

// verbs returns the verbs with a page.
func verbs(root *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "completion" || c.Name() == "help" })
}

func verbPage(c *cobra.Command) (string, error) {
	var b strings.Builder
	_, long, _ := strings.Cut(c.Long, "\n\n")
	fmt.Fprintf(&b, "# kubectl meshvm %s\n\n%s.\n\n%s\n\n```bash\n%s\n```\n", c.Name(), c.Short, long, withoutIndent(c.Example))
	output, err := os.ReadFile(filepath.Join(outputs, c.Name()+".txt"))
	if err != nil {
		return "", fmt.Errorf("%w: the file contains output of the verb on a cluster", err)
	}
	fmt.Fprintf(&b, "\n## Output\n\nOn the local cluster:\n\n```\n%s```\n\n## Flags\n\n%s", output, flagTable(c.LocalNonPersistentFlags()))
	return b.String(), nil
}

// withoutIndent removes the indentation of examples in the help.
func withoutIndent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// flagTable returns a table of the named flags, or of all flags if none is named.
func flagTable(flags *pflag.FlagSet, names ...string) string {
	var b strings.Builder
	b.WriteString("| Flag | Meaning |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || len(names) > 0 && !slices.Contains(names, f.Name) {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, cell(f.Usage))
	})
	return b.String()
}
