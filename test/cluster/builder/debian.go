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

// MirrorEnv is the environment variable with the URL of the Debian mirror.
const MirrorEnv = "MESHVM_DEBIAN_MIRROR"

// suite is the Debian release of the root file system. It does not depend on the
// release of the host.
const suite = "trixie"

// basePackages lists the packages in each image that contains Debian:
// KubeVirt's images (libvirt, QEMU, nft), the image of Istio's proxy, and the
// node's root.
var basePackages = []string{
	"libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log", "libvirt-clients",
	"qemu-system-x86", "qemu-utils", "seabios", "nftables", "iptables", "iproute2", "procps",
}

// nodePackages are added to the base for the root of a Kubernetes node.
var nodePackages = []string{"containerd", "runc", "containernetworking-plugins", "kmod", "conntrack", "curl"}

// buildPackages are added to the base for compiling cgo programs and for
// unpacking the guest's kernel.
var buildPackages = []string{"gcc", "libc6-dev", "libvirt-dev", "pkgconf", "xz-utils", "kmod"}

// mirror returns the URL of the Debian mirror that apt on this machine uses.
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

// debootstrap returns a directory with the files of the package debootstrap. The
// package is downloaded and unpacked, not installed.
func (b *Builder) debootstrap(ctx context.Context) (string, error) {
	return b.product(ctx, "debootstrap", []string{suite}, func(ctx context.Context, dir string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := run(ctx, dir, nil, "apt-get", "download", "debootstrap"); err != nil {
			return fmt.Errorf("%w\n(if apt does not know the package, run apt-get update)", err)
		}
		debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(debs) == 0 {
			return fmt.Errorf("apt-get download debootstrap did not download a package (%w)", err)
		}
		return run(ctx, dir, nil, "dpkg", "-x", debs[0], dir)
	})
}

// keyring contains the keys that verify the mirror's signatures.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// baseRoot returns the directory of the Debian root file system that is the base
// of all others.
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
		// KubeVirt opens /proc/PID/root/var/run, where an absolute link would resolve
		// to the caller's /run.
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

// captureIn calls prepare and runs cmd in a private mount namespace.
func captureIn(ctx context.Context, cmd *exec.Cmd, prepare func() error) error {
	var all strings.Builder
	cmd.Stdout, cmd.Stderr = &all, io.MultiWriter(&all, packagesTo(ctx))
	err := nsrun.PrivateMounts(prepare, cmd)
	used(ctx, cmd)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(all.String()))
	}
	return nil
}

// install installs Debian packages in a root.
func (b *Builder) install(ctx context.Context, c chroot, packages []string) error {
	// This program prevents packages from starting services.
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

// overlayRoot returns the directories of a root that consists of the base and
// further packages.
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

// NodeRoot returns the directories of the root file system of a node.
func (b *Builder) NodeRoot(ctx context.Context) (upper, base string, err error) {
	return b.overlayRoot(ctx, "node", nodePackages)
}
