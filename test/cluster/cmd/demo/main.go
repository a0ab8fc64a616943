// SPDX-License-Identifier: Apache-2.0

// Command demo prints the parts that the demo builds, the estimated time and
// the required disk space. Then it compiles the demo's second program,
// cmd/demo-cluster, and executes it in its place. It imports only the standard
// library, so that it prints its first line within seconds on a machine without
// compiled packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"meshvm.io/meshvm/test/cluster/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	program, err := run(ctx)
	stop()
	if err == nil {
		err = syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	os.Exit(1)
}

// run compiles the second program and returns its path.
func run(ctx context.Context) (string, error) {
	tracker := progress.New(os.Stderr, time.Now())
	d, err := findDirectories()
	if err != nil {
		return "", err
	}
	steps := d.missing()
	if d.announce(steps, slices.Contains(os.Args, "-kubeconfig")); len(steps) > 1 {
		if err := d.checkSpace(len(steps)); err != nil {
			return "", err
		}
	}
	tracker.Expect(steps)
	if err := os.Setenv(progress.StartEnv, strconv.FormatInt(tracker.Start().UnixMilli(), 10)); err != nil {
		return "", err
	}
	return d.compile(ctx, tracker)
}

// compile builds the second program. Its flags are those of package builder, so
// that it shares compiled packages with the other programs.
func (d directories) compile(ctx context.Context, tracker *progress.Tracker) (string, error) {
	out := filepath.Join(d.cache, "own", "demo-cluster")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	step := tracker.Begin("compiling", progress.DemoProgram)
	var printed []string
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false",
		"-ldflags=-s -w", "-o", out, "./cluster/cmd/demo-cluster")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOGC=400", "GOMEMLIMIT=3GiB")
	cmd.Stderr = progress.Lines(func(line string) {
		if progress.IsPackage(line) {
			step.Compiled(line)
			return
		}
		printed = append(printed, line)
	})
	err := cmd.Run()
	if cmd.ProcessState != nil {
		step.Used(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	}
	step.End(err)
	if err != nil {
		return "", fmt.Errorf("compile the demo: %w\n%s", err, strings.Join(printed, "\n"))
	}
	return out, nil
}

// directories lists the directories to which the demo writes.
type directories struct{ cache, goCache, modules string }

func findDirectories() (directories, error) {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		return directories{}, fmt.Errorf("go env: %w", err)
	}
	paths := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(paths) != 2 {
		return directories{}, fmt.Errorf("go env printed %q", out)
	}
	cache, err := progress.CacheDir()
	return directories{cache: cache, goCache: paths[0], modules: paths[1]}, err
}

// missing returns the steps that are probably necessary. It counts products of
// an older checkout as cached. The second program determines the exact steps.
func (d directories) missing() []progress.Cost {
	var out []progress.Cost
	for _, c := range progress.Costs {
		pattern := c.Name + "-*"
		switch c.Name {
		case progress.DemoProgram:
			pattern = "own/demo-cluster"
		case progress.OperatorPrograms:
			pattern = "images/operator-*"
		case progress.StartCluster:
			pattern = "" // This step is always necessary.
		}
		found, err := filepath.Glob(filepath.Join(d.cache, pattern))
		if pattern == "" || err != nil || len(found) == 0 {
			out = append(out, c)
		}
	}
	return out
}

// errSpace means that a file system does not have enough free space.
var errSpace = errors.New("not enough free disk space")
