// SPDX-License-Identifier: Apache-2.0

// Command chart maintains the parts of the Helm chart in charts/meshvm that are
// derived from other files. The chart itself is written by hand.
//
//	chart sync    [-root DIR]
//	chart release [-root DIR] -out DIR -version V -image OLD=NEW...
//
// sync copies the CRDs, the manager's roles and the alerts from config/ into the
// chart, and writes the schemas of Go types into values.schema.json. release
// writes a copy of the chart with the version and the images of a release.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// chartDir is the directory of the chart in the repository.
const chartDir = "charts/meshvm"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("missing command: sync or release")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	root := flags.String("root", ".", "root directory of the repository")
	switch args[0] {
	case "sync":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return syncChart(*root, filepath.Join(*root, chartDir))
	case "release":
		r := release{images: map[string]string{}}
		flags.StringVar(&r.out, "out", "dist/meshvm", "directory of the written chart; it must not exist")
		flags.StringVar(&r.version, "version", "", "version of the operator and the chart, for example 0.2.0")
		flags.Func("image", "OLD=NEW: replaces the image OLD of values.yaml with NEW, which should have a digest; repeat for each image", func(s string) error {
			before, after, ok := strings.Cut(s, "=")
			if !ok || before == "" || after == "" {
				return fmt.Errorf("invalid image %q: must be OLD=NEW", s)
			}
			r.images[before] = after
			return nil
		})
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return r.write(filepath.Join(*root, chartDir))
	default:
		return fmt.Errorf("unknown command %q: must be sync or release", args[0])
	}
}
