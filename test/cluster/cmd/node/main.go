// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command node is the first process of a node of the local cluster. It is
// started by package cluster, never by hand.
//
//	node STAGE STATE-DIRECTORY
package main

import (
	"fmt"
	"os"

	"meshvm.io/meshvm/test/cluster/node"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "node: this program is started by local-cluster")
		os.Exit(2)
	}
	if err := node.Main(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}
