// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"

	"meshvm.io/meshvm/test/cluster/builder"
)

// node is never reached here: builder.Missing reports it first.
func node(context.Context) error { return builder.Missing() }
