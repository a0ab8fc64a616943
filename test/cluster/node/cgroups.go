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

const cgroupRoot = "/sys/fs/cgroup"

// joinCgroups moves this process into the node's cgroups. The cgroup namespace
// that is created next has them as its roots.
func joinCgroups(groups []Cgroup) error {
	for _, g := range groups {
		if err := os.WriteFile(filepath.Join(g.Dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	return nil
}

// mountCgroups mounts the node's cgroup hierarchies, in the same version as on the
// host.
func mountCgroups(groups []Cgroup) error {
	if len(groups) == 1 && groups[0].Controllers == "" {
		return mountUnified()
	}
	if err := mountAll(mount{"tmpfs", cgroupRoot, "tmpfs", 0, "mode=755"}); err != nil {
		return err
	}
	for _, g := range groups {
		if g.Controllers == "" {
			continue // On a hybrid host, container runtimes use the v1 hierarchies.
		}
		name := strings.TrimPrefix(g.Controllers, "name=")
		options := g.Controllers
		if name != g.Controllers {
			options = "none," + options
		}
		if err := mountAll(mount{"cgroup", filepath.Join(cgroupRoot, name), "cgroup", 0, options}); err != nil {
			return err
		}
		for alias := range strings.SplitSeq(name, ",") {
			if alias == name {
				continue
			}
			if err := os.Symlink(name, filepath.Join(cgroupRoot, alias)); err != nil {
				return err
			}
		}
	}
	return nil
}

// mountUnified mounts the hierarchy of a host that has only cgroup v2. A cgroup
// with processes cannot delegate controllers to children, so this process first
// moves to a child.
func mountUnified() error {
	if err := mountAll(mount{"cgroup2", cgroupRoot, "cgroup2", unix.MS_NOSUID, ""}); err != nil {
		return err
	}
	first := filepath.Join(cgroupRoot, "init")
	if err := os.Mkdir(first, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(first, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(raw)) {
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("delegate controller %s: %w", controller, err)
		}
	}
	return nil
}
