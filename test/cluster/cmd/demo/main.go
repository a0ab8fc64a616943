// SPDX-License-Identifier: Apache-2.0

// Command demo starts the local cluster, deploys the operator from its own
// manifests, applies the sample, and shows what becomes of packets to and from
// the guest. It ends with the cluster running, to be looked at.
//
// Without root, or off Linux, it describes what is left out and shows what the
// operator does on an API server without nodes.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"meshvm.io/meshvm/test/cluster/builder"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if missing := builder.Missing(); missing != nil {
		fmt.Fprintf(os.Stderr, "demo: left out: the node, the guest, its NAT and all packets. Why: %v\n", missing)
		fmt.Fprintln(os.Stderr, "demo: shown: the operator on a real API server")
		err = controlPlane(ctx)
	} else {
		err = node(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
