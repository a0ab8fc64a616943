// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// T is a running test.
type T struct {
	*testing.T
	Suite *Suite
}

// Step runs a subtest.
func (t *T) Step(name string, run func(*T)) bool {
	t.Helper()
	return t.Run(name, func(tt *testing.T) { run(&T{T: tt, Suite: t.Suite}) })
}

// Limit returns a context with a time limit that also ends with the test.
func (t *T) Limit(limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// CleanupLimit returns a context for a cleanup function, in which the test's
// context has ended.
func (t *T) CleanupLimit(limit time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.WithoutCancel(t.Context()), limit)
}

// DeleteAfter deletes an object, if it exists, without a grace period after the
// test.
func (t *T) DeleteAfter(o client.Object) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := t.CleanupLimit(time.Minute)
		defer cancel()
		if err := t.Scenario().Delete(ctx, o, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			t.Errorf("delete %s: %v", o.GetName(), err)
		}
	})
}

// NoError fails the test if there is an error.
func (t *T) NoError(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Await polls a condition five times a second.
func (t *T) Await(ctx context.Context, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// Scenario returns the scenario on the cluster.
func (t *T) Scenario() *scenario.Scenario { return t.Suite.Scenario() }
