// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"

	"meshvm.io/meshvm/test/cluster/builder"
)

// localNode is never called here, because builder.Missing returns an error.
func localNode(context.Context, *builder.Builder, options) error { return builder.Missing() }

// existingCluster requires the client of package cluster, which supports only
// Linux.
func existingCluster(context.Context, *builder.Builder, options) error {
	return errors.New("-kubeconfig is supported only on Linux")
}
