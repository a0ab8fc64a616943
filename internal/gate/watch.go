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

// Wait checks until the gate is open. It returns an error if ctx is done.
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

// maxFailures is the number of consecutive failed checks after which an open
// gate is considered shut. A change of the rules replaces the table by a table
// that is verified a few milliseconds later.
const maxFailures = 3

// Watch checks until ctx is done, and then returns nil. Until the gate has been
// open once, failed checks are ignored. If an open gate is shut, it returns the
// reason. A container that exits with this error is not ready, and its start-up
// probe keeps it not ready until the gate is open again.
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
			if failures++; failures == maxFailures {
				return fmt.Errorf("%d consecutive checks failed: %w", maxFailures, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}
