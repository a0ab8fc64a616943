// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/node"
)

// Cluster is a running cluster.
type Cluster struct {
	*kube.API
	options Options
	layout  layout
	builder *builder.Builder
	members []*member
	// remote is set for a cluster without members (see Remote).
	remote bool
	// mu protects the files in the state directory that are read, modified and
	// written.
	mu sync.Mutex
	// importing serializes imports of images.
	importing sync.Mutex
}

// Up starts the cluster and returns when guests can be created. Products that
// are not cached are built while the cluster starts. If the cluster is already
// running, Up keeps it and imports newer images.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := builder.Missing(); err != nil {
		return nil, fmt.Errorf("cannot start a node: %w", err)
	}
	unlock, err := c.layout.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return c, c.bringUp(ctx)
}

// startMembers starts the nodes that are not running.
func (c *Cluster) startMembers(ctx context.Context, p *parts) error {
	older, err := c.layout.forgetOlder()
	if err != nil {
		return err
	}
	if older {
		c.Logf("deleted the state of cluster %s, which an older version had created", c.layout.name)
	}
	c.members = c.layout.members(max(c.options.Nodes, 1))
	for _, m := range c.members {
		if err := c.startUnlessRunning(ctx, m, p); err != nil {
			return err
		}
	}
	return nil
}

// Attach returns a running cluster.
func Attach(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if c.members = c.layout.members(1); !c.first().process.alive() {
		return nil, fmt.Errorf("cluster %s is not running: start it with hack/local-cluster.sh up", c.layout.name)
	}
	return c, c.connect(ctx)
}

func prepare(o Options) (*Cluster, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	l, err := o.layout()
	if err != nil {
		return nil, err
	}
	b := o.Builder
	if b == nil {
		if b, err = builder.New(o.Progress); err != nil {
			return nil, err
		}
	}
	// The client is completed when the API server is available.
	return &Cluster{API: &kube.API{Logf: b.Logf}, options: o, layout: l, builder: b}, nil
}

func (c *Cluster) connect(ctx context.Context) error {
	program, err := c.builder.Tool(ctx, "kube")
	if err != nil {
		return err
	}
	c.API, err = kube.Connect(c.layout.kubeconfig(), program, c.builder.Logf)
	return err
}

// lock keeps two programs from starting or stopping the same cluster at the same
// time.
func (l layout) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.state, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.state+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster %s is being started or stopped by another process", l.name), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// Down stops a cluster. With keep, its state remains in the cache, and the next
// Up starts the same cluster again, as after a power failure.
func Down(o Options, keep bool) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	if !c.layout.exists() {
		c.Logf("cluster %s does not exist", c.layout.name)
		return nil
	}
	c.members = c.layout.members(1)
	return c.Down(keep)
}

// Down stops the cluster (see the function Down).
func (c *Cluster) Down(keep bool) error {
	unlock, err := c.layout.lock()
	if err != nil {
		return err
	}
	defer unlock()
	begin := time.Now()
	if err := c.stop(); err != nil {
		return err
	}
	if !keep {
		// The node's mounts are in its own namespace, so nothing is mounted here.
		if err := os.RemoveAll(c.layout.state); err != nil {
			return err
		}
		if err := os.Remove(c.layout.state + ".lock"); err != nil {
			return err
		}
	}
	c.Logf("stopped cluster %s in %.1f s", c.layout.name, time.Since(begin).Seconds())
	return nil
}

// stop ends the nodes and removes their links and cgroups.
func (c *Cluster) stop() error {
	for _, m := range slices.Backward(c.members) {
		if err := c.stopMember(m); err != nil {
			return err
		}
	}
	return nil
}

// Name returns the cluster's name.
func (c *Cluster) Name() string { return c.layout.name }

// StateDir returns the directory with the cluster's state and logs.
func (c *Cluster) StateDir() string { return c.layout.state }

// Builder returns the builder of programs and images.
func (c *Cluster) Builder() *builder.Builder { return c.builder }

// NodeStatus returns the status of a node's first process.
func (c *Cluster) NodeStatus(name string) (node.Status, error) {
	m, err := c.member(name)
	if err != nil {
		return node.Status{}, err
	}
	return node.ReadStatus(m.state)
}

// PID returns the process ID on the host of a node's first process, or 0 if it
// is not running.
func (c *Cluster) PID(name string) int {
	m, err := c.member(name)
	if err != nil || !m.process.alive() {
		return 0
	}
	return m.process.PID
}

// Footprint returns the link and the cgroups that the cluster has on the host,
// so that tests can check that they are removed.
func (c *Cluster) Footprint() (link string, cgroups []string, err error) {
	for _, m := range c.members {
		config, err := node.Load(m.state)
		if err != nil {
			return "", nil, err
		}
		for _, g := range config.Cgroups {
			cgroups = append(cgroups, g.Dir)
		}
	}
	return c.layout.link, cgroups, nil
}
