// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// WaitLimit limits each wait. It is long because test machines can be slow.
const WaitLimit = 5 * time.Minute

// permanent is an error that is not retried.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error of a condition as final: Wait returns immediately.
func Permanent(err error) error { return permanent{err} }

// repeat is the time after which Wait prints an unchanged state again.
const repeat = 10 * time.Second

// Wait polls a condition several times per second. It prints the state whenever
// it changes, and every 10 seconds. The condition returns a description of the
// missing state, or an empty string if the condition is met. Errors are retried
// unless they are Permanent.
func (c *API) Wait(ctx context.Context, what string, condition func(context.Context) (missing string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, WaitLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last string
	begin, printed := time.Now(), time.Time{}
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
		switch {
		case missing != last:
			c.Logf("waiting for %s: %s", what, missing)
			last, printed = missing, time.Now()
		case time.Since(printed) >= repeat:
			c.Logf("still waiting for %s after %.0f s: %s", what, time.Since(begin).Seconds(), missing)
			printed = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; last: %s", what, ctx.Err(), missing)
		case <-tick.C:
		}
	}
}
