// SPDX-License-Identifier: Apache-2.0

// Command images makes the images that meshvm is delivered as, without a
// container daemon, and pushes them to a registry.
//
//	images build [-repo DIR] [-version V] [-architectures A,B] [-programs P,Q] [-out DIR]
//	images push  [-out DIR] -registry HOST/PATH [-tag TAG] [-must-gather-base IMAGE]
//
// build writes an OCI layout with an index for each program and a bill of
// materials for each binary, and prints the digests. The environment variable
// SOURCE_DATE_EPOCH is the time in the images; without it that is 1970, so that
// the same sources give the same digests. push sends them as they are, with the
// credentials of docker's or podman's configuration.
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
		return errors.New("want build or push")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := flags.String("out", "dist/images", "directory of the layout")
	switch args[0] {
	case "build":
		repo := flags.String("repo", "../..", "directory of the checkout")
		version := flags.String("version", "dev", "version of the release")
		architectures := flags.String("architectures", strings.Join(release.Architectures, ","), "architectures to build for")
		programs := flags.String("programs", "", "programs to build; all when empty")
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
		flags.StringVar(&p.Registry, "registry", "", "where to push to, for example registry.example.com/meshvm")
		flags.StringVar(&p.Tag, "tag", "dev", "tag of the images")
		flags.StringVar(&p.MustGatherBase, "must-gather-base", "", "image with bash and tar to lay must-gather onto, as oc adm must-gather wants it")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if p.Registry == "" {
			return errors.New("-registry is empty: name where to push to, for example -registry registry.example.com/meshvm")
		}
		return p.Run(ctx, *dir, out)
	default:
		return fmt.Errorf("%q: want build or push", args[0])
	}
}

// choose finds programs by name; no name means all.
func choose(names string) ([]release.Program, error) {
	if names == "" {
		return release.Programs, nil
	}
	var out []release.Program
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(release.Programs, func(p release.Program) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no program %q", name)
		}
		out = append(out, release.Programs[i])
	}
	return out, nil
}
