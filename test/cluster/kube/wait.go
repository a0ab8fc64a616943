// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// WaitLimit bounds each wait. It is generous: machines of tests are slow.
const WaitLimit = 5 * time.Minute

// permanent is an error that waiting does not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error of a condition as final: Wait returns immediately.
func Permanent(err error) error { return permanent{err} }

// Wait polls a condition, several times a second, and prints what is missing
// whenever that changes. The condition returns what it waits for, empty when it
// holds; errors are retried, unless they are Permanent.
func (c *API) Wait(ctx context.Context, what string, condition func(context.Context) (missing string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, WaitLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last string
	for {
		missing, err := condition(ctx)
		if err == nil && missing == "" {
			return nil
		}
		if final, ok := errors.AsType[permanent](err); ok {
			return fmt.Errorf("waiting for %s: %w", what, final.error)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for %s: %w; last: %s", what, ctx.Err(), last)
		}
		if err != nil {
			missing = err.Error()
		}
		if missing != last {
			c.Logf("waiting for %s: %s", what, missing)
			last = missing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last: %s", what, ctx.Err(), missing)
		case <-tick.C:
		}
	}
}
