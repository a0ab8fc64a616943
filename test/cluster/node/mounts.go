// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kept lists the directories of the node's root that are stored in the state
// directory. KubeVirt's manifests contain the paths /var/lib/kubelet and
// /var/lib/kubevirt.
var kept = []string{
	"var/lib/containerd", "var/lib/etcd", "var/lib/kubelet", "var/lib/kubevirt",
	"var/lib/kubevirt-node-labeller", "var/lib/cni",
}

// enterRoot replaces the root file system of this mount namespace by an overlay
// of the configured directories. Written data is stored in memory and lost when
// the node stops, except in the kept directories.
func enterRoot(c Config) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root, scratch := filepath.Join(c.State, "root"), filepath.Join(c.State, "scratch")
	if err := mountAll(
		mount{"tmpfs", scratch, "tmpfs", 0, "mode=755"},
	); err != nil {
		return err
	}
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(c.Lower, ":"), upper, work)
	at := func(dir string) string { return filepath.Join(root, dir) }
	mounts := []mount{
		{"overlay", root, "overlay", 0, options},
		{"proc", at("proc"), "proc", 0, ""},
		{"sysfs", at("sys"), "sysfs", 0, ""},
		{"tmpfs", at("run"), "tmpfs", 0, "mode=755"},
		{"tmpfs", at("tmp"), "tmpfs", 0, "mode=1777"},
		{c.State, at(stateMount), "", unix.MS_BIND, ""},
		{filepath.Join(c.State, LogDir), at("var/log"), "", unix.MS_BIND, ""},
	}
	for _, dir := range kept {
		from := filepath.Join(c.State, "kept", dir)
		if err := os.MkdirAll(from, 0o755); err != nil {
			return err
		}
		mounts = append(mounts, mount{from, at(dir), "", unix.MS_BIND, ""})
	}
	if _, err := os.Stat("/lib/modules"); err == nil {
		mounts = append(mounts, mount{"/lib/modules", at("usr/lib/modules"), "", unix.MS_BIND, ""})
	}
	if err := mountAll(mounts...); err != nil {
		return err
	}
	if err := errors.Join(bindPrograms(c, at(programsMount)), mountDevices(at("dev"))); err != nil {
		return err
	}
	return pivot(root)
}

// pivot makes root the root directory and unmounts everything else.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	// Mounts propagate between the kubelet and KubeVirt's containers.
	return errors.Join(os.Chdir("/"), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func mountAll(mounts ...mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
	}
	return nil
}

// bindPrograms mounts each program of the configuration under its name.
func bindPrograms(c Config, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, file := range c.Programs {
		target := filepath.Join(dir, name)
		if err := os.WriteFile(target, nil, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", file, err)
		}
	}
	return nil
}

// The device numbers are specified in Linux,
// Documentation/admin-guide/devices.txt.
var devices = []struct {
	name         string
	mode         uint32
	major, minor uint32
}{
	{"null", 0o666, 1, 3},
	{"zero", 0o666, 1, 5},
	{"full", 0o666, 1, 7},
	{"random", 0o666, 1, 8},
	{"urandom", 0o666, 1, 9},
	{"tty", 0o666, 5, 0},
	{"kmsg", 0o600, 1, 11}, // The kubelet exits if it does not exist.
	{"net/tun", 0o666, 10, 200},
}

// mountDevices creates the node's /dev. It does not contain kvm, so guests
// always run in software emulation.
func mountDevices(dev string) error {
	if err := mountAll(
		mount{"tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755"},
		mount{"devpts", filepath.Join(dev, "pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620"},
		mount{"shm", filepath.Join(dev, "shm"), "tmpfs", 0, "mode=1777"},
	); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dev, "net"), 0o755); err != nil {
		return err
	}
	for _, d := range devices {
		path := filepath.Join(dev, d.name)
		number := int(unix.Mkdev(d.major, d.minor)) //nolint:gosec // numbers of the table above
		if err := unix.Mknod(path, unix.S_IFCHR|d.mode, number); err != nil {
			return fmt.Errorf("make device %s: %w", path, err)
		}
		if err := os.Chmod(path, os.FileMode(d.mode)); err != nil { // independent of the umask
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return nil
}
