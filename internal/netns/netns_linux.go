// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespace is an open network namespace. It exists until Close, even without
// processes.
type Namespace struct {
	file      *os.File
	inode     uint64
	processes int
	firstPID  int
}

// Find opens the network namespaces of the pod's processes. There is a single
// one, unless a container has created another. The namespace with the most
// processes is the first. Among namespaces with the same number of processes,
// the one with the oldest process is the first. The caller must close all of
// them.
//
// It fails with ErrNotFound, ErrHostNetwork, ErrHiddenProcesses, ErrUnreadable
// or ErrInvalidUID.
func (f Finder) Find(podUID string) ([]*Namespace, error) {
	if err := checkUID(podUID); err != nil {
		return nil, err
	}
	host, err := f.hostInode()
	if err != nil {
		return nil, err
	}
	pids, err := f.pids()
	if err != nil {
		return nil, err
	}
	s := search{finder: f, uid: podUID, host: host, found: map[uint64]*Namespace{}}
	for _, pid := range pids {
		s.visit(pid)
	}
	return s.result()
}

// hostInode returns the inode of the host's network namespace, the network
// namespace of process 1.
func (f Finder) hostInode() (uint64, error) {
	if self, err := os.Readlink(filepath.Join(f.root(), "self")); err == nil && self == "1" {
		return 0, fmt.Errorf("%w: this process is the first of its PID namespace", ErrHiddenProcesses)
	}
	info, err := os.Stat(filepath.Join(f.root(), "1", "ns", "net"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrHiddenProcesses, err)
	}
	return inodeOf(info), nil
}

func (f Finder) pids() ([]int, error) {
	entries, err := os.ReadDir(f.root())
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// inPod reports whether the process belongs to the pod. It returns false for a
// process that has exited.
func (f Finder) inPod(pid int, uid string) bool {
	b, err := os.ReadFile(filepath.Join(f.root(), strconv.Itoa(pid), "cgroup"))
	return err == nil && inPod(b, uid)
}

// search collects the network namespaces of one pod.
type search struct {
	finder     Finder
	uid        string
	host       uint64
	found      map[uint64]*Namespace
	onHost     int
	unreadable error
}

func (s *search) visit(pid int) {
	if !s.finder.inPod(pid, s.uid) {
		return
	}
	file, err := os.Open(filepath.Join(s.finder.root(), strconv.Itoa(pid), "ns", "net"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			s.unreadable = withoutPath(err)
		}
		return
	}
	info, err := file.Stat()
	// The PID of a process that has exited can be reused.
	if err != nil || !s.finder.inPod(pid, s.uid) {
		_ = file.Close()
		return
	}
	inode := inodeOf(info)
	known := s.found[inode]
	switch {
	case inode == s.host:
		// A helper of the runtime, for example conmon, in the pod's cgroup.
		s.onHost++
		_ = file.Close()
	case known != nil:
		known.processes++
		_ = file.Close()
	default:
		s.found[inode] = &Namespace{file: file, inode: inode, processes: 1, firstPID: pid}
	}
}

func (s *search) result() ([]*Namespace, error) {
	out := make([]*Namespace, 0, len(s.found))
	for _, n := range s.found {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *Namespace) int {
		return cmp.Or(cmp.Compare(b.processes, a.processes), cmp.Compare(a.firstPID, b.firstPID))
	})
	switch {
	case len(out) > 0:
		return out, nil
	case s.unreadable != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, s.unreadable)
	case s.onHost > 0:
		return nil, ErrHostNetwork
	default:
		return nil, ErrNotFound
	}
}

// withoutPath removes the PID from an error of package os.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func inodeOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// Open opens the network namespace of a file such as /proc/PID/ns/net.
func Open(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace: %w", err), file.Close())
	}
	return &Namespace{file: file, inode: inodeOf(info)}, nil
}

// Inode identifies the namespace on this node while it exists.
func (n *Namespace) Inode() uint64 { return n.inode }

// Fd returns the file descriptor of the namespace, which is valid until Close.
func (n *Namespace) Fd() uintptr { return n.file.Fd() }

// Close closes the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// Addresses returns the addresses of all interfaces in the namespace.
func (n *Namespace) Addresses() ([]Address, error) {
	var out []Address
	err := n.Do(func() error {
		interfaces, err := net.Interfaces()
		if err != nil {
			return fmt.Errorf("list interfaces: %w", err)
		}
		for _, i := range interfaces {
			addresses, err := i.Addrs()
			if err != nil {
				return fmt.Errorf("list the addresses of %s: %w", i.Name, err)
			}
			for _, a := range addresses {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					out = append(out, Address{Interface: i.Name, IP: p.Addr().Unmap()})
				}
			}
		}
		return nil
	})
	return out, err
}

// Do runs f in the namespace on a dedicated OS thread. Goroutines that f starts
// run in other namespaces. If the thread cannot return to its original
// namespace, it is terminated, and no other goroutine uses it.
//
// Do requires CAP_SYS_ADMIN in the current user namespace and in the user
// namespace that owns the network namespace (setns(2)).
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		result := errEnded
		// Also if f exits its goroutine, like testing.T.FailNow.
		defer func() { done <- result }()
		result = n.do(f)
	}()
	return <-done
}

// errEnded means that a function called by Do exited its goroutine.
var errEnded = errors.New("the function did not return")

// do runs Do in a separate goroutine.
func (n *Namespace) do(f func() error) error {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the current network namespace: %w", err)
	}
	defer func() { _ = back.Close() }()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("join network namespace %d: %w", n.inode, err)
	}
	defer func() {
		// A goroutine that exits while it is locked to a thread terminates the
		// thread (runtime.LockOSThread).
		if unix.Setns(int(back.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}
