// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"context"
	"slices"

	"meshvm.io/meshvm/test/cluster/progress"
)

// Expect determines the products of a cluster that are not cached, so that
// progress includes the remaining time. extra contains the names of further
// steps.
func (b *Builder) Expect(ctx context.Context, extra ...string) error {
	missing, err := b.Uncached(ctx)
	if err != nil {
		return err
	}
	missing = append(missing, extra...)
	var steps []progress.Cost
	for _, c := range progress.Costs {
		if slices.Contains(missing, c.Name) {
			steps = append(steps, c)
		}
	}
	b.Progress.Expect(steps)
	return nil
}

// Uncached returns the names of the products of a cluster that are not cached.
func (b *Builder) Uncached(ctx context.Context) ([]string, error) {
	var missing []string
	dry := &Builder{Repo: b.Repo, Cache: b.Cache, Progress: b.Progress, listed: b.listed, missing: &missing}
	for _, name := range slices.Concat([]string{"kube", "pilot-agent", "pilot-discovery", "charts", "coredns"}, kubevirtPrograms) {
		if _, err := dry.Tool(ctx, name); err != nil {
			return nil, err
		}
	}
	if _, err := dry.Envoy(ctx); err != nil {
		b.Logf("no Envoy: %v", err)
	}
	if _, _, err := dry.NodeRoot(ctx); err != nil {
		return nil, err
	}
	for _, product := range []func(context.Context) (string, error){dry.cgoPrograms, dry.guestKernel, dry.baseLayer} {
		if _, err := product(ctx); err != nil {
			return nil, err
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}
