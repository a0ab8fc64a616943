// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// parts contains the products of a cluster. Each channel is closed when the
// fields below it are set.
type parts struct {
	programs chan struct{}
	// kube is the multi-call binary of Kubernetes, node the first process.
	kube, node string
	// cluster is the archive with the pause image and the clients.
	cluster string

	root chan struct{}
	// nodeUpper and base are the directories of the node's root.
	nodeUpper, base string

	kubevirt chan struct{}
	virt     string // archive

	guest      chan struct{}
	guestImage string // archive

	mesh  chan struct{}
	istio string // archive with Istio and the DNS
	// proxy is the part of the name of the image of Istio's proxy.
	proxy string
}

func newParts() *parts {
	p := &parts{}
	for _, c := range []*chan struct{}{&p.programs, &p.root, &p.kubevirt, &p.guest, &p.mesh} {
		*c = make(chan struct{})
	}
	return p
}

// await waits until a part has been built.
func await(ctx context.Context, part <-chan struct{}) error {
	select {
	case <-part:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Build builds all parts of a cluster without starting it.
func Build(ctx context.Context, o Options) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	c.build(ctx, group, newParts())
	return group.Wait()
}

// build builds the parts. Each go build uses all processors, so programs that
// import the same packages are compiled sequentially to avoid compiling a
// package twice at the same time. Kubernetes, Istio, the DNS and the operator
// import the same versions of most packages. KubeVirt imports older versions.
func (c *Cluster) build(ctx context.Context, group *errgroup.Group, p *parts) {
	if !c.options.WithoutKubeVirt {
		group.Go(func() error {
			// The download starts early. buildMesh reports an error.
			_, _ = c.builder.Envoy(ctx)
			return nil
		})
	}
	group.Go(func() error {
		if err := c.buildPrograms(ctx, p); err != nil || c.options.WithoutKubeVirt {
			return err
		}
		return c.buildMesh(ctx, p)
	})
	group.Go(func() error {
		if err := c.buildRoot(ctx, p); err != nil || c.options.WithoutKubeVirt {
			return err
		}
		return c.buildKubeVirt(ctx, p)
	})
}

func (c *Cluster) buildPrograms(ctx context.Context, p *parts) (err error) {
	b := c.builder
	if p.kube, err = b.Tool(ctx, "kube"); err != nil {
		return err
	}
	if p.node, err = b.Program(ctx, "./test/cluster/cmd/node"); err != nil {
		return err
	}
	if p.cluster, err = b.ClusterImages(ctx); err != nil {
		return err
	}
	close(p.programs)
	return nil
}

func (c *Cluster) buildMesh(ctx context.Context, p *parts) (err error) {
	if p.istio, p.proxy, err = c.builder.MeshImages(ctx); err != nil {
		return err
	}
	if _, err = c.builder.Tool(ctx, "charts"); err != nil {
		return err
	}
	close(p.mesh)
	for _, f := range c.options.Prebuild {
		if err := f(ctx, c.builder); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) buildRoot(ctx context.Context, p *parts) (err error) {
	if p.nodeUpper, p.base, err = c.builder.NodeRoot(ctx); err == nil {
		close(p.root)
	}
	return err
}

func (c *Cluster) buildKubeVirt(ctx context.Context, p *parts) (err error) {
	if p.virt, err = c.builder.KubeVirtImages(ctx); err != nil {
		return err
	}
	close(p.kubevirt)
	if p.guestImage, err = c.builder.GuestImageArchive(ctx); err != nil {
		return err
	}
	close(p.guest)
	return nil
}

// bringUp builds the parts, and starts and deploys each part as soon as it is
// built.
func (c *Cluster) bringUp(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	p := newParts()
	c.build(ctx, group, p)
	group.Go(func() error {
		for _, part := range []chan struct{}{p.programs, p.root} {
			if err := await(ctx, part); err != nil {
				return err
			}
		}
		if err := c.startNodes(ctx, p); err != nil || c.options.WithoutKubeVirt {
			return err
		}
		for _, f := range []func(context.Context, *parts) error{c.bringUpKubeVirt, c.bringUpMesh, c.bringUpGuest} {
			group.Go(func() error { return f(ctx, p) })
		}
		return nil
	})
	return group.Wait()
}

// startNodes starts the nodes and waits until they can run pods.
func (c *Cluster) startNodes(ctx context.Context, p *parts) error {
	if err := c.startMembers(ctx, p); err != nil {
		return err
	}
	if err := c.connect(ctx); err != nil {
		return err
	}
	if err := c.dropDeadLeases(ctx); err != nil {
		return err
	}
	if err := c.ImportImageOnce(ctx, "cluster", p.cluster); err != nil {
		return err
	}
	for _, m := range c.members {
		if err := c.nodeReady(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) bringUpKubeVirt(ctx context.Context, p *parts) error {
	if err := await(ctx, p.kubevirt); err != nil {
		return err
	}
	if err := c.ImportImageOnce(ctx, "KubeVirt", p.virt); err != nil {
		return err
	}
	return c.deployKubeVirt(ctx)
}

func (c *Cluster) bringUpGuest(ctx context.Context, p *parts) error {
	if err := await(ctx, p.guest); err != nil {
		return err
	}
	return c.ImportImageOnce(ctx, "guest", p.guestImage)
}

func (c *Cluster) bringUpMesh(ctx context.Context, p *parts) error {
	if err := await(ctx, p.mesh); err != nil {
		return err
	}
	if err := c.ImportImageOnce(ctx, "Istio and DNS", p.istio); err != nil {
		return err
	}
	if err := c.deployDNS(ctx); err != nil {
		return err
	}
	if err := c.deployIstio(ctx, p.proxy, c.options.NativeNftables); err != nil {
		return err
	}
	return c.istioReady(ctx)
}
