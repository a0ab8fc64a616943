// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"meshvm.io/meshvm/test/cluster/nsrun"
)

// MirrorEnv names the environment variable with the Debian mirror's URL.
const MirrorEnv = "MESHVM_DEBIAN_MIRROR"

// suite is the Debian release of the root file system, whatever the host runs.
const suite = "trixie"

// basePackages are in every image that needs a Debian: KubeVirt's (libvirt,
// QEMU, nft), the node's own root, and the one for Istio's istio-init.
var basePackages = []string{
	"libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log", "libvirt-clients",
	"qemu-system-x86", "qemu-utils", "seabios", "nftables", "iptables", "iproute2", "procps",
}

// nodePackages make the base the root of a Kubernetes node.
var nodePackages = []string{"containerd", "runc", "containernetworking-plugins", "kmod", "conntrack", "curl"}

// buildPackages make the base a place to compile cgo programs in, and to
// unpack the guest's kernel.
var buildPackages = []string{"gcc", "libc6-dev", "libvirt-dev", "pkgconf", "xz-utils", "kmod"}

// mirror is the Debian mirror that this machine's apt uses.
func (b *Builder) mirror(ctx context.Context) (string, error) {
	if m := os.Getenv(MirrorEnv); m != "" {
		return m, nil
	}
	out, err := output(ctx, "", nil, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages")
	if err != nil {
		return "", fmt.Errorf("%w\nset %s to the URL of a Debian mirror", err, MirrorEnv)
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "Debian" && f[2] == "Debian" {
			return f[0], nil
		}
	}
	return "", fmt.Errorf("apt has no Debian repository among its sources: run apt-get update, or set %s to the URL of a Debian mirror", MirrorEnv)
}

// debootstrap returns a directory with the files of that package, which is
// fetched but not installed.
func (b *Builder) debootstrap(ctx context.Context) (string, error) {
	return b.product(ctx, "debootstrap", []string{suite}, func(ctx context.Context, dir string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := run(ctx, dir, nil, "apt-get", "download", "debootstrap"); err != nil {
			return fmt.Errorf("%w\n(if apt knows no such package: apt-get update)", err)
		}
		debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(debs) == 0 {
			return fmt.Errorf("apt-get download debootstrap left no package (%w)", err)
		}
		return run(ctx, dir, nil, "dpkg", "-x", debs[0], dir)
	})
}

// keyring verifies the mirror's signatures.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// baseRoot is a directory with the Debian root file system that all else stands on.
func (b *Builder) baseRoot(ctx context.Context) (string, error) {
	return b.product(ctx, "rootfs/base", append([]string{suite, "2"}, basePackages...), func(ctx context.Context, dir string) error {
		if err := Missing(); err != nil {
			return err
		}
		mirror, err := b.mirror(ctx)
		if err != nil {
			return err
		}
		if err := b.bootstrap(ctx, dir, mirror); err != nil {
			return err
		}
		b.Logf("installing libvirt, QEMU and nftables into it")
		if err := b.install(ctx, chroot{lower: []string{dir}}, basePackages); err != nil {
			return err
		}
		// KubeVirt goes through /proc/PID/root/var/run, where an absolute link
		// would lead into the caller's own /run.
		link := filepath.Join(dir, "var/run")
		return errors.Join(os.Remove(link), os.Symlink("../run", link))
	})
}

func (b *Builder) bootstrap(ctx context.Context, dir, mirror string) error {
	if _, err := os.Stat(keyring); err != nil {
		return fmt.Errorf("%w: install debian-archive-keyring", err)
	}
	tools, err := b.debootstrap(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b.Logf("bootstrapping Debian %s from %s", suite, mirror)
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "usr/sbin/debootstrap"),
		"--variant=minbase", "--keyring="+keyring, suite, dir, mirror)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive",
		"DEBOOTSTRAP_DIR="+filepath.Join(tools, "usr/share/debootstrap"))
	return captureIn(ctx, cmd, func() error { return nil })
}

// captureIn runs cmd after prepare in a private mount namespace.
func captureIn(ctx context.Context, cmd *exec.Cmd, prepare func() error) error {
	var all strings.Builder
	cmd.Stdout, cmd.Stderr = &all, io.MultiWriter(&all, packagesTo(ctx))
	if err := nsrun.PrivateMounts(prepare, cmd); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(all.String(), 25))
	}
	return nil
}

// install adds Debian packages to a root.
func (b *Builder) install(ctx context.Context, c chroot, packages []string) error {
	// Nothing may start a service while it is installed.
	policy := filepath.Join(c.target(), "usr/sbin/policy-rc.d")
	if err := os.MkdirAll(filepath.Dir(policy), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		return err
	}
	if err := c.run(ctx, "apt-get", "-q", "update"); err != nil {
		return err
	}
	args := append([]string{"-q", "-y", "--no-install-recommends", "install"}, packages...)
	if err := c.run(ctx, "apt-get", args...); err != nil {
		return err
	}
	return c.run(ctx, "apt-get", "clean")
}

// overlayRoot is the upper directory of a root that is the base plus packages.
func (b *Builder) overlayRoot(ctx context.Context, name string, packages []string) (upper, base string, err error) {
	base, err = b.baseRoot(ctx)
	if err != nil {
		return "", "", err
	}
	upper, err = b.product(ctx, "rootfs/"+name, append([]string{base}, packages...), func(ctx context.Context, dir string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return b.install(ctx, chroot{lower: []string{base}, upper: dir}, packages)
	})
	return upper, base, err
}

// NodeRoot is the root file system of a node: the base and what is laid over it.
func (b *Builder) NodeRoot(ctx context.Context) (upper, base string, err error) {
	return b.overlayRoot(ctx, "node", nodePackages)
}
