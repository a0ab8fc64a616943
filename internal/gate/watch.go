// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"fmt"
	"time"
)

// Interval is the time between two checks of Watch.
const Interval = 2 * time.Second

// WaitInterval is the time between two checks of Wait.
const WaitInterval = 100 * time.Millisecond

// Wait checks until the gate is open. It fails with the context's error.
func Wait(ctx context.Context, tick <-chan time.Time, check func(context.Context) error) error {
	for check(ctx) != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
	}
	return nil
}

// patience is how many checks in a row must fail before an open gate counts as
// shut: a change of the rules replaces the table by one that is verified some
// milliseconds later.
const patience = 3

// Watch checks until the context ends, which gives nil. As long as the gate was
// never open it waits. When a gate that was open is shut for good, it returns
// why: a container that ends with that is not ready, and its start-up probe
// holds it there until the gate is open again.
func Watch(ctx context.Context, tick <-chan time.Time, check func(context.Context) error) error {
	open, failures := false, 0
	for {
		err := check(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The end of the context is why the check failed.
		case err == nil:
			open, failures = true, 0
		case open:
			if failures++; failures == patience {
				return fmt.Errorf("%d checks in a row: %w", patience, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}
