// SPDX-License-Identifier: Apache-2.0

// Command lint is golangci-lint with kube-api-linter built in. Both are Go
// modules that this module requires. "golangci-lint custom", the usual way to
// add a plugin, clones a repository instead.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter" // registers the linter kubeapilinter
)

func main() {
	info := commands.BuildInfo{GoVersion: "unknown", Version: "unknown", Commit: "module", Date: "unknown"}
	if build, ok := debug.ReadBuildInfo(); ok {
		info.GoVersion = build.GoVersion
		for _, m := range build.Deps {
			if m.Path == "github.com/golangci/golangci-lint/v2" {
				info.Version = m.Version
			}
		}
	}
	if err := commands.Execute(info); err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(exitcodes.Failure)
	}
}
