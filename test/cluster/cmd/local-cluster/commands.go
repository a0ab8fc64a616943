// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
)

func tool(ctx context.Context, o cluster.Options, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("tool: specify one of %v", builder.Tools())
	}
	return printPath(o, func(b *builder.Builder) (string, error) { return b.Tool(ctx, args[0]) })
}

func assets(ctx context.Context, o cluster.Options, _ []string) error {
	return printPath(o, func(b *builder.Builder) (string, error) { return b.EnvtestAssets(ctx) })
}

func printPath(o cluster.Options, f func(*builder.Builder) (string, error)) error {
	b, err := builder.New(o.Progress)
	if err != nil {
		return err
	}
	path, err := f(b)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}

func images(ctx context.Context, o cluster.Options, _ []string) error {
	return printPath(o, func(b *builder.Builder) (string, error) { return b.OperatorImages(ctx) })
}

func clean(_ context.Context, _ cluster.Options, _ []string) error { return cluster.Clean() }
