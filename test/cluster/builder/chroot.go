// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// chroot is a root file system in which commands run. It consists of the lower
// directories, and changes are written to upper. Without upper, changes are
// written to the only lower directory.
type chroot struct {
	lower []string // The last one is the lowest layer.
	upper string
	// binds maps directories of the host to their paths in the root. They are
	// writable.
	binds map[string]string
	env   []string
	dir   string
}

// target returns the directory to which changes are written.
func (c chroot) target() string {
	if c.upper != "" {
		return c.upper
	}
	return c.lower[0]
}

// run executes a command in the root. All mounts are in a private namespace
// that is removed when the command exits.
func (c chroot) run(ctx context.Context, name string, args ...string) error {
	root := c.target() + ".root"
	work := c.target() + ".work"
	for _, d := range []string{root, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		defer os.RemoveAll(d) //nolint:errcheck // an empty mount point
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Dir = "/"
	if c.dir != "" {
		cmd.Dir = c.dir
	}
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
	}, proxies()...)
	cmd.Env = append(cmd.Env, c.env...)
	return captureIn(ctx, cmd, func() error { return c.mount(root, work) })
}

// proxies returns the variables of the environment with proxy settings.
func proxies() []string {
	var out []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			out = append(out, kv)
		}
	}
	return out
}

// mount mounts the root. It runs in the private mount namespace.
func (c chroot) mount(root, work string) error {
	if c.upper != "" {
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(c.lower, ":"), c.upper, work)
		if err := unix.Mount("overlay", root, "overlay", 0, opts); err != nil {
			return fmt.Errorf("mount overlay on %s: %w", root, err)
		}
	} else if err := unix.Mount(c.lower[0], root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", c.lower[0], err)
	}
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	for _, d := range []string{"null", "zero", "random", "urandom"} {
		node := filepath.Join(root, "dev", d)
		if err := touch(node); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+d, node, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind /dev/%s: %w", d, err)
		}
	}
	resolv := filepath.Join(root, "etc/resolv.conf")
	if _, err := os.Stat("/etc/resolv.conf"); err == nil {
		if err := touch(resolv); err != nil {
			return err
		}
		if err := unix.Mount("/etc/resolv.conf", resolv, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind resolv.conf: %w", err)
		}
	}
	for from, to := range c.binds {
		at := filepath.Join(root, to)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", from, err)
		}
	}
	return nil
}

// touch creates an empty file for a bind mount unless the file exists.
func touch(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
