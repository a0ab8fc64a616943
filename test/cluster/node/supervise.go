// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor starts servers, reaps every process that exits in the node, and
// updates the status. A server that exits is reported and not restarted, unless
// a RestartRequest exists.
type supervisor struct {
	mu       sync.Mutex
	status   Status
	path     string
	names    map[int]string      // servers by process ID
	commands map[string][]string // the program and its arguments, by server
}

func newSupervisor() *supervisor {
	return &supervisor{
		status: Status{Phase: Starting, Servers: map[string]Server{}},
		path:   filepath.Join(stateMount, statusFile),
		names:  map[int]string{}, commands: map[string][]string{},
	}
}

// phase reports progress.
func (s *supervisor) phase(phase, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Phase, s.status.Message = phase, fmt.Sprintf(format, args...)
	s.save()
}

func (s *supervisor) save() {
	if err := writeJSON(s.path, s.status); err != nil {
		fmt.Fprintln(os.Stderr, "node: write status:", err)
	}
}

// start runs a server and writes its output to a log file. It does not use package
// os/exec, whose Wait would compete with reap.
func (s *supervisor) start(name, path string, args ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands[name] = append([]string{path}, args...)
	return s.run(name)
}

// run starts the command of a server.
func (s *supervisor) run(name string) error {
	path, args := s.commands[name][0], s.commands[name][1:]
	log, err := os.OpenFile(filepath.Join("/var/log", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own copy
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close() //nolint:errcheck // only read
	pid, err := syscall.ForkExec(path, append([]string{name}, args...), &syscall.ProcAttr{
		Dir: "/", Env: environment(),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.names[pid] = name
	s.status.Servers[name] = Server{PID: pid}
	s.save()
	return nil
}

func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
}

// reap waits for children, as the first process of a PID namespace must.
func (s *supervisor) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		for {
			var status unix.WaitStatus
			pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if pid <= 0 || err != nil {
				break
			}
			s.ended(pid, status)
		}
	}
}

func (s *supervisor) ended(pid int, status unix.WaitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.names[pid]
	if !ok {
		return // This is an orphaned process of a pod.
	}
	request := filepath.Join(stateMount, RestartRequest(name))
	if os.Remove(request) == nil {
		delete(s.names, pid)
		if err := s.run(name); err == nil {
			return
		}
	}
	how := fmt.Sprintf("exit code %d", status.ExitStatus())
	if status.Signaled() {
		how = "signal " + status.Signal().String()
	}
	how += " at " + time.Now().UTC().Format(time.RFC3339)
	s.status.Servers[name] = Server{PID: pid, Exited: how}
	s.status.Phase, s.status.Message = Failed, fmt.Sprintf("%s exited: %s; see %s/%s.log", name, how, LogDir, name)
	s.save()
}

// failed returns the error message of the first failure, or an empty string.
func (s *supervisor) failed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Phase == Failed {
		return s.status.Message
	}
	return ""
}
