// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/nsrun"
)

// nodePath is the search path of commands in the node.
const nodePath = "PATH=/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Stdio contains the streams of a command. A nil stream is empty.
type Stdio = kube.Stdio

// NodeExec runs a command in all namespaces of a node and returns its output.
func (c *Cluster) NodeExec(ctx context.Context, node string, args ...string) (string, error) {
	m, err := c.member(node)
	if err != nil {
		return "", err
	}
	return c.capture(ctx, nsrun.Target{PID: m.process.PID}, args)
}

// NodeRun is NodeExec with streams.
func (c *Cluster) NodeRun(ctx context.Context, node string, s Stdio, args ...string) error {
	m, err := c.member(node)
	if err != nil {
		return err
	}
	return c.run(ctx, nsrun.Target{PID: m.process.PID}, s, args)
}

// PodNetnsExec runs a command, for example nft, in the network namespace of a
// pod on any node. The program is taken from the root file system of the first
// node, or from virt-handler's image on a remote cluster.
func (c *Cluster) PodNetnsExec(ctx context.Context, podUID string, args ...string) (string, error) {
	if c.remote {
		return c.remoteNetnsExec(ctx, podUID, args)
	}
	pid, err := c.PodPID(podUID)
	if err != nil {
		return "", err
	}
	return c.capture(ctx, nsrun.Target{PID: c.first().process.PID, NetPID: pid}, args)
}

// PodNetnsRun is PodNetnsExec with streams.
func (c *Cluster) PodNetnsRun(ctx context.Context, podUID string, s Stdio, args ...string) error {
	if c.remote {
		return c.remoteNetnsRun(ctx, podUID, s, args)
	}
	pid, err := c.PodPID(podUID)
	if err != nil {
		return err
	}
	return c.run(ctx, nsrun.Target{PID: c.first().process.PID, NetPID: pid}, s, args)
}

func (c *Cluster) capture(ctx context.Context, t nsrun.Target, args []string) (string, error) {
	var out, errs bytes.Buffer
	err := c.run(ctx, t, Stdio{Out: &out, Err: &errs}, args)
	if err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (c *Cluster) run(ctx context.Context, t nsrun.Target, s Stdio, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = []string{nodePath, "HOME=/root", "LC_ALL=C.UTF-8", "TERM=" + os.Getenv("TERM")}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	return nsrun.Run(t, cmd)
}

// PodPID returns the process ID on the host of a process in the pod's network
// namespace. The first process of a container starts in the network namespace
// of the node.
func (c *Cluster) PodPID(podUID string) (int, error) {
	if c.remote {
		return 0, errRemote
	}
	nodes := map[string]bool{"": true}
	for _, m := range c.members {
		if p, running := m.running(); running {
			nodes[netnsOf(p.PID)] = true
		}
	}
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(raw), "/pod"+podUID) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && !nodes[netnsOf(pid)] {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of pod %s: is it running?", podUID)
}

// netnsOf returns the name of a process's network namespace, or an empty string
// if the process does not exist.
func netnsOf(pid int) string {
	name, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	return name
}
