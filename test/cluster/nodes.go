// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/node"
)

// StopNode stops a node as a power failure would, and keeps its state. It does
// not stop the first node, which runs the control plane: use Down.
func (c *Cluster) StopNode(name string) error {
	m, err := c.member(name)
	if err != nil {
		return err
	}
	if m == c.first() {
		return fmt.Errorf("%s runs the control plane", name)
	}
	return c.stopMember(m)
}

// StartNode starts a stopped node and waits until its kubelet has reported.
func (c *Cluster) StartNode(ctx context.Context, name string) error {
	m, err := c.member(name)
	if err != nil {
		return err
	}
	p := newParts()
	if err := errors.Join(c.buildPrograms(ctx, p), c.buildRoot(ctx, p)); err != nil {
		return err
	}
	if err := c.startUnlessRunning(ctx, m, p); err != nil {
		return err
	}
	return c.nodeReady(ctx, m)
}

// RestartServer kills a server of a node, for example the kubelet, and waits
// until it has been restarted.
func (c *Cluster) RestartServer(ctx context.Context, nodeName, server string) error {
	m, err := c.member(nodeName)
	if err != nil {
		return err
	}
	before, err := node.ReadStatus(m.state)
	if err != nil {
		return err
	}
	old, ok := before.Servers[server]
	if !ok {
		return fmt.Errorf("%s has no server %q", nodeName, server)
	}
	if err := os.WriteFile(filepath.Join(m.state, node.RestartRequest(server)), nil, 0o644); err != nil {
		return err
	}
	// This is the process ID in the node's PID namespace.
	if _, err := c.NodeExec(ctx, nodeName, "kill", "-"+strconv.Itoa(int(unix.SIGKILL)), strconv.Itoa(old.PID)); err != nil {
		return err
	}
	return c.Wait(ctx, server+" of "+nodeName, func(context.Context) (string, error) {
		now, err := node.ReadStatus(m.state)
		switch {
		case err != nil:
			return "", err
		case now.Phase == node.Failed:
			return "", kube.Permanent(errors.New(now.Message))
		case now.Servers[server].PID == old.PID:
			return "its restart", nil
		}
		return "", nil
	})
}

// Call is a request of the operator to the API server.
type Call struct {
	Verb string `json:"verb"`
	User struct {
		Username string
		Extra    map[string][]string
	}
	RequestURI string `json:"requestURI"`
	ObjectRef  struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	ResponseStatus struct{ Code int } `json:"responseStatus"`
	// Annotations contain the authorizer's decision (authorization.k8s.io/decision).
	Annotations map[string]string `json:"annotations"`
	At          time.Time         `json:"requestReceivedTimestamp"`
}

// Calls returns the requests of the operator's service accounts since a time from
// the audit log.
func (c *Cluster) Calls(since time.Time) ([]Call, error) {
	f, err := os.Open(filepath.Join(c.first().state, node.LogDir, node.AuditLog))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var calls []Call
	for d := json.NewDecoder(f); ; {
		var call Call
		err := d.Decode(&call)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return calls, nil // The last line can be incomplete.
		}
		if err != nil {
			return nil, err
		}
		if call.At.After(since) {
			calls = append(calls, call)
		}
	}
}
