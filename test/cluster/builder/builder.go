// SPDX-License-Identifier: Apache-2.0

// Package builder makes everything that the local cluster runs: the upstream
// programs from their Go modules, a Debian root file system, container images
// and the guest. Each product is kept in a cache directory under a name that
// contains a digest of what it was made from, so that nothing is made twice and
// nothing stale is used.
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
)

// CacheEnv names the environment variable that moves the cache.
const CacheEnv = "MESHVM_CACHE"

// CacheDir is where products and the state of clusters are kept: $MESHVM_CACHE,
// or else the folder meshvm in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w (set %s)", err, CacheEnv)
	}
	return filepath.Join(dir, "meshvm"), nil
}

// Builder makes products on demand.
type Builder struct {
	// Repo is the root of the project's checkout.
	Repo string
	// Cache holds the products.
	Cache string
	// Out gets a line per step that takes time.
	Out io.Writer

	start time.Time
	mu    sync.Mutex
}

// New returns a builder for the checkout that contains the working directory.
func New(out io.Writer) (*Builder, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	repo, err := FindRepo()
	if err != nil {
		return nil, err
	}
	return &Builder{Repo: repo, Cache: cache, Out: out, start: time.Now()}, os.MkdirAll(cache, 0o755)
}

// At is a builder of another checkout, with the same cache.
func (b *Builder) At(repo string) *Builder {
	return &Builder{Repo: repo, Cache: b.Cache, Out: b.Out, start: b.start}
}

// HasCommit reports whether the repository's history has a commit: a shallow clone
// may not.
func (b *Builder) HasCommit(ctx context.Context, commit string) bool {
	return run(ctx, b.Repo, nil, "git", "cat-file", "-e", commit+"^{commit}") == nil
}

// Checkout is a directory with the files of a commit of the repository.
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

// FindRepo looks for the project's go.mod from the working directory upwards.
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

// Logf prints a line with the time since the builder was made.
func (b *Builder) Logf(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.Out, "%7.1fs  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

// product returns the path of a cached product, made by build when it is not
// there. build writes to the path it is given, a file or a directory; it gets
// its final name only when build returned no error. inputs decide the name.
func (b *Builder) product(ctx context.Context, name string, inputs []string, build func(ctx context.Context, path string) error) (string, error) {
	path := filepath.Join(b.Cache, name+"-"+digest(inputs...))
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	unlock, err := b.lock(path)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Lstat(path); err == nil {
		return path, nil // made by another process while this one waited
	}
	tmp := path + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	b.Logf("building %s", name)
	begin := time.Now()
	stop := b.heartbeat(name, begin)
	err = build(ctx, tmp)
	stop()
	err = errors.Join(err, os.RemoveAll(tmp+".changes"))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	b.Logf("built %s in %.1f s", name, time.Since(begin).Seconds())
	return path, os.Rename(tmp, path)
}

// heartbeat reports every 20 seconds that a step is still at work.
func (b *Builder) heartbeat(name string, begin time.Time) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(20 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				b.Logf("still building %s (%.0f s)", name, time.Since(begin).Seconds())
			}
		}
	}()
	return func() { close(done) }
}

// lock keeps two processes from making the same product at the same time.
func (b *Builder) lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		b.Logf("waiting for another process that builds %s", filepath.Base(path))
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return func() {
		_ = os.Remove(f.Name())
		_ = f.Close()
	}, nil
}

// digest shortens the inputs of a product to twelve hexadecimal digits.
func digest(inputs ...string) string {
	h := sha256.New()
	for _, in := range inputs {
		_, _ = fmt.Fprintf(h, "%d:%s", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// fileDigest is the digest of files' contents; directories count with all their
// files. It goes into the name of what is made from them.
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

// run executes a command and puts its output into the error when it fails.
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

// capture runs cmd and returns what it printed; an error carries the last lines.
func capture(cmd *exec.Cmd) (string, error) {
	var stdout, all strings.Builder
	cmd.Stdout = io.MultiWriter(&stdout, &all)
	cmd.Stderr = &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(all.String(), 25))
	}
	return stdout.String(), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(all) > lines {
		all = append([]string{"..."}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}
