// SPDX-License-Identifier: Apache-2.0

// Command kubectl-meshvm is a plugin of kubectl for MeshedVirtualMachines. If it
// is in a directory of $PATH, "kubectl meshvm" runs it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // The authentication methods of kubectl.

	"meshvm.io/meshvm/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
