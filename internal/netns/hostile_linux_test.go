// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/requirement"
)

// UIDs of pods that do not have other processes on the machine.
const (
	victimUID   = "5d1f0a2e-6b7c-4d8e-9fa0-b1c2d3e4f5a6"
	attackerUID = "6e2a1b3f-7c8d-4e9f-8ab1-c2d3e4f5a6b7"
)

// cgroupRoot returns a mounted cgroup hierarchy of version 2 or version 1 in
// which this process may create cgroups.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/systemd"} {
		dir := filepath.Join(root, "meshvm-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		_, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
		if os.Remove(dir) == nil && err == nil {
			return root
		}
	}
	requirement.Kernel.Unmet(t, "no cgroup hierarchy in which cgroups can be created")
	return ""
}

// inside is set in the environment of a test that runs in its own PID namespace.
const inside = "MESHVM_TEST_IN_PID_NAMESPACE"

// inPIDNamespace runs the test again in a PID namespace with its own proc file system,
// so that it may read the namespaces of process 1. It reports whether the caller is
// that run.
func inPIDNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if err := exec.Command("unshare", "-m", "-p", "-f", "true").Run(); err != nil {
		requirement.Kernel.Unmet(t, "no permission to create PID namespaces: %v", err)
	}
	// The shell is process 1 until the test ends.
	c := exec.Command("unshare", "-m", "-p", "-f", "sh", "-c", `mount -t proc proc /proc && "$0" "$@"; exit $?`,
		os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count", "1")
	c.Env = append(os.Environ(), inside+"=1")
	out, err := c.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		requirement.Kernel.Unmet(t, "%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("the test did not run:\n%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// inCgroup starts a process in its own network namespace and in a cgroup. With
// hidden, the process is in its own cgroup namespace, too.
func inCgroup(t *testing.T, path string, hidden bool) (pid int) {
	t.Helper()
	root := cgroupRoot(t)
	dir := filepath.Join(root, path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(path, "/")
	t.Cleanup(func() {
		for d := path; d != "." && d != "/"; d = filepath.Dir(d) {
			if err := os.Remove(filepath.Join(root, d)); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
				t.Logf("remove the cgroup %s of %s: %v", d, first, err)
			}
		}
	})
	// The process enters the cgroup before it creates its namespaces, so that the
	// root of its cgroup namespace is this cgroup.
	flags := "-n"
	if hidden {
		flags += "C"
	}
	c := exec.Command("sh", "-c", `echo $$ >"$0"/cgroup.procs && exec unshare `+flags+` sh -c 'echo; exec sleep 600'`, dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		requirement.Kernel.Unmet(t, "cannot start a process: %v", err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGKILL)
		_ = c.Wait()
	})
	if n, _ := out.Read(make([]byte, 1)); n != 1 {
		requirement.Kernel.Unmet(t, "no permission to create namespaces")
	}
	return c.Process.Pid
}

// TestFindInRealCgroups finds real processes in real cgroups. Each process has its own
// network namespace.
func TestFindInRealCgroups(t *testing.T) {
	if !inPIDNamespace(t) {
		return
	}
	base := "meshvm-test-" + strconv.Itoa(os.Getpid())
	systemd := func(uid string) string {
		return "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	}
	for name, tc := range map[string]struct {
		path   string
		hidden bool
		want   bool
	}{
		"the pod, cgroupfs": {path: "kubepods/burstable/pod" + victimUID + "/1f", want: true},
		"the pod, systemd":  {path: "kubepods.slice/kubepods-burstable.slice/" + systemd(victimUID) + "/cri-containerd-1f.scope", want: true},
		"a nested cgroup of the pod": {
			path: "kubepods/burstable/pod" + victimUID + "/1f/inner", want: true,
		},
		"the pod, in its own cgroup namespace": {path: "kubepods/burstable/pod" + victimUID + "/1f", hidden: true, want: true},

		"another pod's container with a nested cgroup": {
			path: "kubepods/burstable/pod" + attackerUID + "/1f/kubepods/burstable/pod" + victimUID + "/1f",
		},
		"another pod's container with a nested slice": {
			path: "kubepods.slice/" + systemd(attackerUID) + "/cri-containerd-1f.scope/kubepods.slice/" + systemd(victimUID) + "/x.scope",
		},
		"another pod's container in its own cgroup namespace": {
			path: "kubepods/burstable/pod" + attackerUID + "/1f/pod" + victimUID, hidden: true,
		},
		"a name that contains the pod":            {path: "kubepods/burstable/pod" + victimUID + "x/1f"},
		"a slice with an escaped dash":            {path: `kubepods.slice/kubepods\x2dpod` + strings.ReplaceAll(victimUID, "-", "_") + ".slice/x.scope"},
		"a container with the name of the pod":    {path: "kubepods/burstable/pod" + attackerUID + "/pod" + victimUID},
		"a pod that has only the UID as its name": {path: "kubepods/burstable/" + victimUID + "/1f"},
	} {
		t.Run(name, func(t *testing.T) {
			pid := inCgroup(t, filepath.Join(base, tc.path), tc.hidden)
			found, err := Finder{}.Find(victimUID)
			for _, n := range found {
				defer func() { _ = n.Close() }()
			}
			if !tc.want {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("process %d was identified as a process of the pod: %v", pid, err)
				}
				return
			}
			if err != nil || len(found) != 1 {
				t.Fatalf("found %d namespaces, %v, want the namespace of process %d", len(found), err, pid)
			}
			info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "ns", "net"))
			if err != nil || inodeOf(info) != found[0].Inode() {
				t.Errorf("found namespace %d, want the namespace of process %d: %v", found[0].Inode(), pid, err)
			}
		})
	}
}

// TestNamespaceOutlivesItsPod terminates the pod between the search and the
// write, and starts another pod that reuses its addresses. The open namespace
// must still be the namespace of the terminated pod, and another search must
// not find it.
func TestNamespaceOutlivesItsPod(t *testing.T) {
	if !inPIDNamespace(t) {
		return
	}
	base := "meshvm-test-" + strconv.Itoa(os.Getpid())
	pid := inCgroup(t, filepath.Join(base, "kubepods/pod"+victimUID+"/1f"), false)
	found, err := Finder{}.Find(victimUID)
	if err != nil || len(found) != 1 {
		t.Fatalf("found %d, %v", len(found), err)
	}
	defer func() { _ = found[0].Close() }()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	other := inCgroup(t, filepath.Join(base, "kubepods/pod"+attackerUID+"/1f"), false)
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(other), "ns", "net"))
	if err != nil {
		t.Fatal(err)
	}
	var current uint64
	err = found[0].Do(func() error {
		ns, err := Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		current = ns.Inode()
		return ns.Close()
	})
	if err != nil || current != found[0].Inode() || current == inodeOf(info) {
		t.Errorf("wrote in namespace %d, want %d and not the namespace of the new pod, %d: %v", current, found[0].Inode(), inodeOf(info), err)
	}
}
