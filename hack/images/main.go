// SPDX-License-Identifier: Apache-2.0

// Command images builds the released images of meshvm without a container daemon
// and pushes them to a registry.
//
//	images build [-repo DIR] [-version V] [-architectures A,B] [-programs P,Q] [-out DIR]
//	images push  [-out DIR] -registry HOST/PATH [-tag TAG] [-must-gather-base IMAGE]
//
// build writes an OCI layout with an index for each program and a software bill
// of materials (SBOM) for each binary, and prints the digests. The environment
// variable SOURCE_DATE_EPOCH sets the creation time of the images. It defaults to
// 1970, so that the same sources result in the same digests. push uploads the
// layout unchanged. It uses the credentials in the configuration of Docker or
// Podman.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"meshvm.io/meshvm/hack/images/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("missing command: build or push")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := flags.String("out", "dist/images", "directory of the OCI layout")
	switch args[0] {
	case "build":
		repo := flags.String("repo", "../..", "directory of the checkout")
		version := flags.String("version", "dev", "version of the release")
		architectures := flags.String("architectures", strings.Join(release.Architectures, ","), "architectures, separated by commas")
		programs := flags.String("programs", "", "programs, separated by commas; empty for all")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		chosen, err := choose(*programs)
		if err != nil {
			return err
		}
		created, err := release.Created(os.Getenv("SOURCE_DATE_EPOCH"))
		if err != nil {
			return err
		}
		o := release.Options{Repo: *repo, Work: filepath.Join(*dir, "work"), Version: *version, Created: created}
		return release.Build(ctx, o, *dir, chosen, strings.Split(*architectures, ","), out)
	case "push":
		var p release.Push
		flags.StringVar(&p.Registry, "registry", "", "registry and path, for example registry.example.com/meshvm")
		flags.StringVar(&p.Tag, "tag", "dev", "tag of the images")
		flags.StringVar(&p.MustGatherBase, "must-gather-base", "", "image with bash and tar that becomes the base of must-gather, as oc adm must-gather requires")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if p.Registry == "" {
			return errors.New("missing -registry, for example -registry registry.example.com/meshvm")
		}
		return p.Run(ctx, *dir, out)
	default:
		return fmt.Errorf("unknown command %q: must be build or push", args[0])
	}
}

// choose returns the programs with the given names, or all programs if names is
// empty.
func choose(names string) ([]release.Program, error) {
	if names == "" {
		return release.Programs, nil
	}
	var out []release.Program
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(release.Programs, func(p release.Program) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown program %q", name)
		}
		out = append(out, release.Programs[i])
	}
	return out, nil
}
