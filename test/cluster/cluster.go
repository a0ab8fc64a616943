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
}

// parts are the files that a node is made of.
type parts struct {
	node, kube      string
	nodeUpper, base string
	// proxy is the word for the image of Istio's proxy.
	proxy    string
	archives []archive
}

// archive is a file with images for the node.
type archive struct{ name, path string }

// Up starts the cluster, after building what is not in the cache, and returns
// when it can be used. A cluster that runs already is taken as it is, with newer
// images if there are any.
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
	p, err := c.build(ctx)
	if err != nil {
		return nil, err
	}
	older, err := c.layout.forgetOlder()
	if err != nil {
		return nil, err
	}
	if older {
		c.Logf("the state of cluster %s was of an older version: it begins from an empty one", c.layout.name)
	}
	c.members = c.layout.members(max(o.Nodes, 1))
	for _, m := range c.members {
		if err := c.startUnlessRunning(ctx, m, p); err != nil {
			return nil, err
		}
	}
	return c, c.finish(ctx, p)
}

// Attach finds a running cluster.
func Attach(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if c.members = c.layout.members(1); !c.first().process.alive() {
		return nil, fmt.Errorf("cluster %s does not run: start it with local-cluster up", c.layout.name)
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
	b, err := builder.New(o.Progress)
	if err != nil {
		return nil, err
	}
	// The rest of the client comes when there is an API server.
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

// lock keeps two programs from starting or stopping the same cluster immediately.
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

// Build makes everything that a cluster runs, without starting one.
func Build(ctx context.Context, o Options) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	_, err = c.build(ctx)
	return err
}

func (c *Cluster) build(ctx context.Context) (p parts, err error) {
	b := c.builder
	if p.kube, err = b.Tool(ctx, "kube"); err != nil {
		return p, err
	}
	if p.nodeUpper, p.base, err = b.NodeRoot(ctx); err != nil {
		return p, err
	}
	if p.node, err = b.Program(ctx, "./test/cluster/cmd/node"); err != nil {
		return p, err
	}
	makers := []struct {
		name string
		make func(context.Context) (string, error)
	}{{"cluster", b.ClusterImages}}
	if !c.options.WithoutKubeVirt {
		makers = append(makers, []struct {
			name string
			make func(context.Context) (string, error)
		}{{"kubevirt", b.KubeVirtImages}, {"guest", b.GuestImageArchive}, {"Istio and DNS", func(ctx context.Context) (path string, err error) {
			path, p.proxy, err = b.MeshImages(ctx)
			return path, err
		}}}...)
	}
	for _, m := range makers {
		path, err := m.make(ctx)
		if err != nil {
			return p, err
		}
		p.archives = append(p.archives, archive{m.name, path})
	}
	return p, nil
}

// finish brings a started node to where it can be used.
func (c *Cluster) finish(ctx context.Context, p parts) error {
	if err := c.connect(ctx); err != nil {
		return err
	}
	for _, a := range p.archives {
		if err := c.ImportImageOnce(ctx, a.name, a.path); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		if err := c.nodeReady(ctx, m); err != nil {
			return err
		}
	}
	if c.options.WithoutKubeVirt {
		return nil
	}
	return c.deploy(ctx, p)
}

// Down stops a cluster. With keep its state stays in the cache, and the next Up
// brings the same cluster back, as after a power failure.
func Down(o Options, keep bool) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	if !c.layout.exists() {
		c.Logf("there is no cluster %s", c.layout.name)
		return nil
	}
	c.members = c.layout.members(1)
	return c.Down(keep)
}

// Down stops the cluster; see the function Down.
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
		// A mount below would be the host's: nothing of the node is mounted here.
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

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.layout.name }

// StateDir is the directory with the cluster's state and logs.
func (c *Cluster) StateDir() string { return c.layout.state }

// Builder gives access to programs and images.
func (c *Cluster) Builder() *builder.Builder { return c.builder }

// NodeStatus is the report of a node's first process.
func (c *Cluster) NodeStatus(name string) (node.Status, error) {
	m, err := c.member(name)
	if err != nil {
		return node.Status{}, err
	}
	return node.ReadStatus(m.state)
}

// PID is a node's first process, as the host numbers it; 0 when it does not run.
func (c *Cluster) PID(name string) int {
	m, err := c.member(name)
	if err != nil || !m.process.alive() {
		return 0
	}
	return m.process.PID
}

// Footprint names what the cluster has outside of its namespaces, so that tests
// can check that all of it goes.
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
