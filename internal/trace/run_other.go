// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package trace

import (
	"context"

	"meshvm.io/meshvm/internal/netns"
)

// Run fails because nf_tables exists only on Linux.
func Run(_ context.Context, _ netns.Finder, r Request) Result {
	return Result{Version: ResultVersion, PodUID: r.PodUID, Outcome: OutcomeUnsupported, Message: ErrUnsupported.Error()}
}
