// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process identifies the node's first process, even if its process ID was
// reused.
type process struct {
	PID int `json:"pid"`
	// Ticks is the start time in /proc/PID/stat.
	Ticks string `json:"ticks"`
	// Started is the start time, for comparisons with times of the Kubernetes API.
	Started time.Time `json:"started"`
}

func (m *member) processFile() string { return filepath.Join(m.state, "process.json") }

func newProcess(pid int) (process, error) {
	ticks, _, err := stat(pid)
	return process{PID: pid, Ticks: ticks, Started: time.Now()}, err
}

// stat returns the start time and the state of a process.
func stat(pid int) (ticks, state string, err error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", "", err
	}
	// The second field is a name in parentheses that may contain anything.
	_, rest, ok := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", "", fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return fields[19], fields[0], nil
}

// alive reports whether the process is still running.
func (p process) alive() bool {
	ticks, state, err := stat(p.PID)
	return err == nil && ticks == p.Ticks && state != "Z" && state != "X"
}

// kill stops the node. When the first process of a PID namespace exits, the
// kernel kills all other processes in it.
func (p process) kill() error {
	if !p.alive() {
		return nil
	}
	if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return until(30*time.Second, fmt.Sprintf("process %d to exit", p.PID), func() bool { return !p.alive() })
}

func (m *member) saveProcess() error {
	raw, err := json.Marshal(m.process)
	if err != nil {
		return err
	}
	return os.WriteFile(m.processFile(), raw, 0o644)
}

// running returns the node's process if it is running.
func (m *member) running() (process, bool) {
	var p process
	raw, err := os.ReadFile(m.processFile())
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return p, false
	}
	return p, p.alive()
}

// until polls a condition of the kernel that has no notification.
func until(limit time.Duration, what string, done func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		if done() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s for %s", limit, what)
		}
	}
}
