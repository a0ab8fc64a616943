// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/requirement"
)

const (
	podCgroup   = "0::/kubepods/burstable/pod" + uid + "/1f\n"
	otherCgroup = "0::/system.slice/other.service\n"
)

// process is an entry of an artificial proc file system.
type process struct {
	pid    int
	cgroup string
	// ns names the network namespace. Processes with equal names share it.
	// Empty means that it cannot be opened because the process is exiting.
	ns string
}

// procOf creates a proc file system. Regular files represent namespaces,
// because Find uses only their inodes.
func procOf(t *testing.T, processes ...process) string {
	t.Helper()
	root := t.TempDir()
	for _, p := range processes {
		dir := filepath.Join(root, strconv.Itoa(p.pid))
		if err := os.MkdirAll(filepath.Join(dir, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup"), []byte(p.cgroup), 0o600); err != nil {
			t.Fatal(err)
		}
		if p.ns == "" {
			continue
		}
		file := filepath.Join(root, "namespace-"+p.ns)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(file, filepath.Join(dir, "ns", "net")); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

var host = process{1, "0::/init.scope\n", "host"}

// findings are hosts with the expected result of Find.
var findings = map[string]struct {
	processes []process
	// want are the names of the expected namespaces in order.
	want []string
	err  error
}{
	"one": {
		processes: []process{host, {7, otherCgroup, "other"}, {8, podCgroup, "pod"}},
		want:      []string{"pod"},
	},
	"several in the same": {
		processes: []process{host, {8, podCgroup, "pod"}, {9, podCgroup, "pod"}},
		want:      []string{"pod"},
	},
	"most processes first": {
		processes: []process{host, {8, podCgroup, "nested"}, {9, podCgroup, "pod"}, {10, podCgroup, "pod"}},
		want:      []string{"pod", "nested"},
	},
	"oldest first among equals": {
		processes: []process{host, {80, podCgroup, "nested"}, {9, podCgroup, "pod"}},
		want:      []string{"pod", "nested"},
	},
	"helper of the runtime in the host's": {
		processes: []process{host, {8, podCgroup, "host"}, {9, podCgroup, "pod"}},
		want:      []string{"pod"},
	},
	"exiting process": {
		processes: []process{host, {8, podCgroup, ""}, {9, podCgroup, "pod"}},
		want:      []string{"pod"},
	},
	"host network": {
		processes: []process{host, {8, podCgroup, "host"}},
		err:       ErrHostNetwork,
	},
	"none": {
		processes: []process{host, {7, otherCgroup, "other"}},
		err:       ErrNotFound,
	},
	"only exiting processes": {
		processes: []process{host, {8, podCgroup, ""}},
		err:       ErrNotFound,
	},
	"host not visible": {
		processes: []process{{8, podCgroup, "pod"}},
		err:       ErrHiddenProcesses,
	},
}

func TestFind(t *testing.T) {
	for name, tc := range findings {
		t.Run(name, func(t *testing.T) {
			root := procOf(t, tc.processes...)
			found, err := Finder{Root: root}.Find(uid)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			var got []string
			for _, n := range found {
				got = append(got, nameOf(t, root, n.Inode()))
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

func nameOf(t *testing.T, root string, inode uint64) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "namespace-*"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f string) bool {
		info, err := os.Stat(f)
		return err == nil && inodeOf(info) == inode
	})
	if i < 0 {
		t.Fatalf("inode %d is not a namespace", inode)
	}
	return filepath.Base(files[i])[len("namespace-"):]
}

func TestFindInOwnPIDNamespace(t *testing.T) {
	root := procOf(t, process{1, podCgroup, "pod"})
	if err := os.Symlink("1", filepath.Join(root, "self")); err != nil {
		t.Fatal(err)
	}
	if _, err := (Finder{Root: root}).Find(uid); !errors.Is(err, ErrHiddenProcesses) {
		t.Errorf("error %v, want ErrHiddenProcesses", err)
	}
}

func TestFindUnreadable(t *testing.T) {
	root := procOf(t, process{1, otherCgroup, "host"}, process{8, podCgroup, ""})
	loop := filepath.Join(root, "8", "ns", "net")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if _, err := (Finder{Root: root}).Find(uid); !errors.Is(err, ErrUnreadable) {
		t.Errorf("error %v, want ErrUnreadable", err)
	}
}

func TestFindRejectsUID(t *testing.T) {
	if _, err := (Finder{Root: t.TempDir()}).Find("../x"); !errors.Is(err, ErrInvalidUID) {
		t.Errorf("error %v, want ErrInvalidUID", err)
	}
}

// TestDo enters a network namespace and returns.
func TestDo(t *testing.T) {
	ns := newNamespace(t)
	before, err := Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = before.Close() }()

	want := errors.New("what f returned")
	var inside uint64
	err = ns.Do(func() error {
		current, err := Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		inside = current.Inode()
		return errors.Join(want, current.Close())
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v, want the error of the function", err)
	}
	if inside != ns.Inode() || inside == before.Inode() {
		t.Errorf("ran in %d, want %d, not %d", inside, ns.Inode(), before.Inode())
	}
	addresses, err := ns.Addresses()
	if err != nil || len(addresses) != 0 {
		t.Errorf("addresses %v, %v, want none: loopback is down", addresses, err)
	}
}

func TestDoWithoutReturn(t *testing.T) {
	if err := newNamespace(t).Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errEnded) {
		t.Errorf("error %v, want errEnded", err)
	}
}

func TestDoWithoutNamespace(t *testing.T) {
	ns, err := Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	if err := ns.Do(func() error { t.Error("ran"); return nil }); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error %v, want EINVAL", err)
	}
}

// newNamespace creates a network namespace. It skips the test without the
// required capability.
func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	var ns *Namespace
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // The thread is terminated with this goroutine.
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	switch err := <-done; {
	case errors.Is(err, unix.EPERM):
		requirement.Kernel.Unmet(t, "no permission to create network namespaces")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// FuzzFind runs Find on arbitrary hosts, on which it must not return the host's
// network namespace or the namespace of another pod.
func FuzzFind(f *testing.F) {
	for _, tc := range findings {
		var cgroups [3]string
		var namespaces uint8
		for i, p := range tc.processes {
			if i > 0 && i <= len(cgroups) {
				cgroups[i-1] = p.cgroup
				namespaces |= uint8(max(0, slices.Index(fuzzedNamespaces, p.ns))) << (2 * (i - 1)) //nolint:gosec // At most 3.
			}
		}
		f.Add(cgroups[0], cgroups[1], cgroups[2], namespaces)
	}
	f.Fuzz(func(t *testing.T, first, second, third string, namespaces uint8) {
		processes := []process{host}
		allowed := map[string]bool{}
		for i, cgroup := range []string{first, second, third} {
			ns := fuzzedNamespaces[namespaces>>(2*i)&3]
			processes = append(processes, process{i + 2, cgroup, ns})
			allowed[ns] = allowed[ns] || strings.Contains(cgroup, uid) || strings.Contains(cgroup, strings.ReplaceAll(uid, "-", "_"))
		}
		root := procOf(t, processes...)
		found, err := Finder{Root: root}.Find(uid)
		if (err == nil) != (len(found) > 0) {
			t.Errorf("%d namespaces and error %v", len(found), err)
		}
		for _, n := range found {
			if name := nameOf(t, root, n.Inode()); name == "host" || !allowed[name] {
				t.Errorf("namespace %q of %+v", name, processes)
			}
			_ = n.Close()
		}
	})
}

// fuzzedNamespaces are selected by two bits.
var fuzzedNamespaces = []string{"", "host", "pod", "nested"}
