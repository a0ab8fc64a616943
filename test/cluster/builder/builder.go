// SPDX-License-Identifier: Apache-2.0

// Package builder builds everything that the local cluster runs: the upstream
// programs from their Go modules, a Debian root file system, container images
// and the guest. Each product is kept in a cache directory. Its name contains a
// digest of its inputs, so that it is built once and never outdated.
package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/test/cluster/progress"
)

// CacheDir returns the directory for build products and the state of clusters.
func CacheDir() (string, error) { return progress.CacheDir() }

// Builder makes products on demand.
type Builder struct {
	// Repo is the root of the project's checkout.
	Repo string
	// Cache is the directory of the products.
	Cache string
	// Progress receives a line for each step that takes time.
	Progress *progress.Tracker

	// missing collects the names of products that are not cached. If it is set,
	// nothing is built.
	missing *[]string
	// listed contains outputs of go list by its arguments.
	listed *sync.Map
}

// New returns a builder for the checkout that contains the working directory.
// Progress is written to out.
func New(out io.Writer) (*Builder, error) {
	return NewTracked(progress.New(out, time.Now()))
}

// NewTracked is New with an existing tracker.
func NewTracked(tracker *progress.Tracker) (*Builder, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	repo, err := FindRepo()
	if err != nil {
		return nil, err
	}
	return &Builder{Repo: repo, Cache: cache, Progress: tracker, listed: &sync.Map{}}, os.MkdirAll(cache, 0o755)
}

// At returns a builder of another checkout with the same cache.
func (b *Builder) At(repo string) *Builder {
	return &Builder{Repo: repo, Cache: b.Cache, Progress: b.Progress, listed: &sync.Map{}}
}

// HasCommit reports whether the repository contains a commit. A shallow clone may
// not contain it.
func (b *Builder) HasCommit(ctx context.Context, commit string) bool {
	return run(ctx, b.Repo, nil, "git", "cat-file", "-e", commit+"^{commit}") == nil
}

// Checkout returns a directory with the files of a commit of the repository.
func (b *Builder) Checkout(ctx context.Context, commit string) (string, error) {
	return b.product(ctx, "checkout", []string{commit}, func(ctx context.Context, dir string) error {
		archive := dir + ".tar"
		defer os.Remove(archive) //nolint:errcheck // unpacked
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := run(ctx, b.Repo, nil, "git", "archive", "-o", archive, commit); err != nil {
			return err
		}
		return run(ctx, dir, nil, "tar", "-xf", archive)
	})
}

// FindRepo returns the nearest parent of the working directory with the project's
// go.mod.
func FindRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(raw), "module meshvm.io/meshvm\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside a checkout of meshvm.io/meshvm: run this in the repository")
		}
		dir = parent
	}
}

// Logf prints a line with the time since the start.
func (b *Builder) Logf(format string, args ...any) { b.Progress.Logf(format, args...) }

// product returns the path of a cached product. If it does not exist, build
// makes it. build writes a file or a directory to the given path, which is
// renamed to its final name only if build succeeds. The name is derived from
// inputs.
func (b *Builder) product(ctx context.Context, name string, inputs []string, build func(ctx context.Context, path string) error) (string, error) {
	path := filepath.Join(b.Cache, name+"-"+digest(inputs...))
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	if b.missing != nil {
		*b.missing = append(*b.missing, name)
		return path, nil
	}
	unlock, err := b.lock(path)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Lstat(path); err == nil {
		return path, nil // another process built it while this process waited
	}
	tmp := path + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	err = b.step(ctx, "building", name, func(ctx context.Context) error { return build(ctx, tmp) })
	err = errors.Join(err, os.RemoveAll(tmp+".changes"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, os.Rename(tmp, path)
}

// stepKey is the context key of the step that a command belongs to.
type stepKey struct{}

// step runs f and reports its progress.
func (b *Builder) step(ctx context.Context, verb, name string, f func(context.Context) error) error {
	step := b.Progress.Begin(verb, name)
	err := f(context.WithValue(ctx, stepKey{}, step))
	step.End(err)
	return err
}

// lock prevents two processes from building the same product at the same time.
func (b *Builder) lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		b.Logf("waiting for %s, which is already being built", filepath.Base(path))
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return func() {
		_ = os.Remove(f.Name())
		_ = f.Close()
	}, nil
}

// digest returns twelve hexadecimal digits of the digest of a product's inputs.
func digest(inputs ...string) string {
	h := sha256.New()
	for _, in := range inputs {
		_, _ = fmt.Fprintf(h, "%d:%s", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// fileDigest returns the digest of the contents of files, and of all files in
// directories.
func fileDigest(paths ...string) (string, error) {
	h := sha256.New()
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			_, _ = fmt.Fprintf(h, "%s %d ", filepath.Base(path), len(raw))
			_, _ = h.Write(raw)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// run executes a command. If it fails, the error contains the output.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	_, err := output(ctx, dir, env, name, args...)
	return err
}

func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	return capture(cmd)
}

// capture runs cmd and returns its output. If it fails, the error contains the
// last lines.
func capture(cmd *exec.Cmd) (string, error) {
	var stdout, all strings.Builder
	cmd.Stdout = io.MultiWriter(&stdout, &all)
	cmd.Stderr = &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(all.String()))
	}
	return stdout.String(), nil
}

// tailLines is the number of lines of output in an error.
const tailLines = 25

func tail(text string) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > tailLines {
		all = append([]string{"..."}, all[len(all)-tailLines:]...)
	}
	return strings.Join(all, "\n")
}
