// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"meshvm.io/meshvm/test/cluster/node"
)

// makeCgroups creates a directory for the node in each cgroup hierarchy, below
// the cgroup of this process, so that the machine's accounting includes the
// node. On a machine with only cgroup v2, the directory is in the root cgroup,
// because a cgroup with processes cannot have children with controllers.
func (m *member) makeCgroups() ([]node.Cgroup, error) {
	memberships, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	groups, err := cgroupDirs(string(memberships), string(mounts), m.cgroup)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if err := os.MkdirAll(g.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make cgroup: %w", err)
		}
		if g.Controllers == "cpuset" {
			if err := copyCpuset(g.Dir); err != nil {
				return nil, err
			}
		}
	}
	return groups, nil
}

// copyCpuset copies the processors and memory nodes of its parent to a new cgroup.
// Without them, no process can enter it.
func copyCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// cgroupDirs returns the directory of a new cgroup in each hierarchy. Its arguments
// are the contents of /proc/self/cgroup and /proc/self/mountinfo.
func cgroupDirs(memberships, mountinfo, name string) ([]node.Cgroup, error) {
	at := cgroupMounts(mountinfo)
	var groups []node.Cgroup
	lines := strings.Split(strings.TrimSpace(memberships), "\n")
	for _, line := range lines {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("unexpected line %q in /proc/self/cgroup", line)
		}
		m, ok := at[f[1]]
		if !ok {
			continue // a hierarchy that is not mounted
		}
		path := strings.TrimPrefix(f[2], strings.TrimSuffix(m.root, "/"))
		if f[1] == "" && len(lines) == 1 {
			path = ""
		}
		groups = append(groups, node.Cgroup{Controllers: f[1], Dir: filepath.Join(m.target, path, name)})
	}
	if len(groups) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: mount /sys/fs/cgroup first")
	}
	return groups, nil
}

type cgroupMount struct{ root, target string }

// cgroupMounts maps controllers, written as in /proc/self/cgroup, to mounts.
func cgroupMounts(mountinfo string) map[string]cgroupMount {
	out := map[string]cgroupMount{}
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		m := cgroupMount{root: l[3], target: l[4]}
		switch r[0] {
		case "cgroup2":
			out[""] = m
		case "cgroup":
			var controllers []string
			for o := range strings.SplitSeq(r[2], ",") {
				switch o {
				case "rw", "ro", "xattr", "clone_children", "noprefix", "none":
				default:
					if !strings.HasPrefix(o, "release_agent=") {
						controllers = append(controllers, o)
					}
				}
			}
			out[strings.Join(controllers, ",")] = m
		}
	}
	return out
}

// removeCgroups removes the cgroups of a stopped node.
func removeCgroups(groups []node.Cgroup) error {
	var errs []error
	for _, g := range groups {
		err := until(10*time.Second, "cgroup "+g.Dir+" to become empty", func() bool { return removeTree(g.Dir) })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and its children. The files in it belong to the
// kernel.
func removeTree(dir string) bool {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return false
	}
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d)
	}
	_, err = os.Stat(dir)
	return errors.Is(err, os.ErrNotExist)
}
