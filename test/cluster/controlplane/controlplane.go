// SPDX-License-Identifier: Apache-2.0

// Package controlplane is the part of the demo that needs neither root nor Linux:
// etcd and kube-apiserver with the CRDs of KubeVirt and Istio, and the operator as
// a process. No node runs pods, so no guest boots and no rules are written. The
// demo shows the objects that the operator creates.
package controlplane

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/kube"
)

// ControlPlane is a running API server with the operator.
type ControlPlane struct {
	*kube.API
	environment envtest.Environment
	manager     *exec.Cmd
	dir         string
}

// Start starts all programs, and builds programs that are not cached.
func Start(ctx context.Context, b *builder.Builder) (c *ControlPlane, err error) {
	assets, err := b.EnvtestAssets(ctx)
	if err != nil {
		return nil, err
	}
	manager, err := b.HostProgram(ctx, "./cmd/manager")
	if err != nil {
		return nil, err
	}
	c = &ControlPlane{environment: envtest.Environment{BinaryAssetsDirectory: assets, ControlPlaneStartTimeout: 2 * time.Minute}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "meshvm-control-plane-"); err != nil {
		return c, err
	}
	b.Logf("starting etcd and kube-apiserver")
	if _, err = c.environment.Start(); err != nil {
		return c, err
	}
	kubeconfig := filepath.Join(c.dir, "kubeconfig")
	if err = os.WriteFile(kubeconfig, c.environment.KubeConfig, 0o600); err != nil {
		return c, err
	}
	kubectl, err := b.Tool(ctx, "kube")
	if err != nil {
		return c, err
	}
	if c.API, err = kube.Connect(kubeconfig, kubectl, b.Logf); err != nil {
		return c, err
	}
	if err = c.install(ctx, b); err != nil {
		return c, err
	}
	b.Logf("starting the operator as a process")
	config := filepath.Join(c.dir, "config.yaml")
	if err = os.WriteFile(config, []byte(managerConfig), 0o600); err != nil {
		return c, err
	}
	c.manager = exec.Command(manager, "--config="+config)
	c.manager.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "OPERATOR_NAMESPACE=meshvm-system")
	log, err := os.Create(filepath.Join(c.dir, "manager.log"))
	if err != nil {
		return c, err
	}
	defer log.Close() //nolint:errcheck // the process has its own copy
	c.manager.Stdout, c.manager.Stderr = log, log
	return c, c.manager.Start()
}

// managerConfig disables the manager's servers, which the API server cannot
// reach.
const managerConfig = `apiVersion: config.meshvm.io/v1alpha1
kind: OperatorConfiguration
ruleWriter: {image: "` + builder.RuleWriterImage + `", serviceAccount: meshvm-rule-writer}
tracer: {image: "` + builder.TracerImage + `"}
leaderElection: {mode: Disabled}
health: {bindAddress: "0"}
metrics: {bindAddress: "0"}
webhook: {mode: Disabled}
`

// install applies the CRDs of KubeVirt and Istio and the operator's manifests.
func (c *ControlPlane) install(ctx context.Context, b *builder.Builder) error {
	files, err := filepath.Glob(filepath.Join(b.Repo, "test/upstream/kubevirt/crds/*.yaml"))
	if err != nil {
		return err
	}
	var manifests [][]byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		manifests = append(manifests, raw)
	}
	istio, err := b.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	operator, err := c.Kustomize(ctx, filepath.Join(b.Repo, "config/default"))
	if err != nil {
		return err
	}
	c.Logf("applying the CRDs of KubeVirt and Istio, and config/default")
	for _, m := range append(manifests, istio, operator) {
		if err := c.ApplyManifest(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the operator, kube-apiserver and etcd.
func (c *ControlPlane) Stop() error {
	var errs []error
	if c.manager != nil && c.manager.Process != nil {
		errs = append(errs, c.manager.Process.Signal(os.Interrupt))
		_ = c.manager.Wait()
	}
	errs = append(errs, c.environment.Stop())
	if c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}
