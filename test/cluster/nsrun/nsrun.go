// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package nsrun runs commands in other namespaces without a helper program. A
// goroutine is locked to its thread, the thread enters the namespaces, and the
// command is started from that thread and inherits its namespaces. The thread
// exits with the goroutine, so the rest of the program stays in its namespaces.
package nsrun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// onThread runs f on a dedicated thread that exits afterwards.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime cannot terminate the first thread of a program, which would
			// keep the other namespaces alive. The first thread waits here while f runs
			// on another thread.
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		done <- f() // The thread is never unlocked, so the runtime terminates it.
	}()
	return <-done
}

// PrivateMounts runs prepare and then cmd in a new mount namespace. Its mounts
// are not visible outside and are removed when cmd and its children have
// exited.
func PrivateMounts(prepare func() error, cmd *exec.Cmd) error {
	return onThread(func() error {
		// A thread that shares its root and working directory with other threads
		// cannot change its mount namespace.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new mount namespace: %w (this needs root)", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := prepare(); err != nil {
			return err
		}
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // The command is killed when this program exits.
		return cmd.Run()
	})
}

// Target specifies the namespaces to enter: those of the process PID, with the
// network namespace of the process NetPID if that is not 0.
type Target struct {
	PID    int
	NetPID int
}

// Run runs cmd in the target's namespaces and root directory. env(1) finds the
// program there.
func Run(t Target, cmd *exec.Cmd) error {
	net := t.NetPID
	if net == 0 {
		net = t.PID
	}
	// The files are opened first, because their paths are valid only in the
	// current namespace.
	spaces := []struct {
		pid  int
		name string
		flag int
	}{
		{net, "net", unix.CLONE_NEWNET},
		{t.PID, "ipc", unix.CLONE_NEWIPC},
		{t.PID, "uts", unix.CLONE_NEWUTS},
		{t.PID, "cgroup", unix.CLONE_NEWCGROUP},
		{t.PID, "pid", unix.CLONE_NEWPID},
		{t.PID, "mnt", unix.CLONE_NEWNS},
	}
	files := make([]*os.File, len(spaces))
	defer func() {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	for i, s := range spaces {
		f, err := os.Open("/proc/" + strconv.Itoa(s.pid) + "/ns/" + s.name)
		if err != nil {
			return err
		}
		files[i] = f
	}
	cmd.Path, cmd.Err = "/usr/bin/env", nil
	cmd.Args = append([]string{"env"}, cmd.Args...)
	cmd.Dir = "/"
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		for i, s := range spaces {
			if err := unix.Setns(int(files[i].Fd()), s.flag); err != nil {
				return fmt.Errorf("enter %s namespace of process %d: %w", s.name, s.pid, err)
			}
		}
		// A parent-death signal cannot be used, because a child in another PID
		// namespace has no visible parent and would exit immediately.
		return cmd.Run()
	})
}

// InNet calls f on a thread that is in the network namespace of a process.
func InNet(pid int, f func() error) error {
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return err
	}
	return onThread(func() error {
		defer file.Close() //nolint:errcheck // only read
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace of process %d: %w", pid, err)
		}
		return f()
	})
}

// ExitCode returns the exit code in an error of Run, or -1.
func ExitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}
