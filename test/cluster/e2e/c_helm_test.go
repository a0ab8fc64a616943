// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// chart is a release of the operator's Helm chart, by Helm itself.
type chart struct {
	*testing.T
	s       *scenario.Scenario
	program string
	env     []string
}

// helm runs Helm as administrator and returns what it prints.
func (c *chart) helm(ctx context.Context, args ...string) string {
	c.Helper()
	cmd := exec.CommandContext(ctx, c.program, append(args, "--namespace", scenario.OperatorNamespace)...)
	cmd.Env = c.env
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	c.Logf("helm %s: %.1f s", strings.Join(args, " "), time.Since(begin).Seconds())
	if err != nil {
		c.Fatalf("helm: %v\n%s", err, out)
	}
	return string(out)
}

// TestHelm installs the operator with its Helm chart on a cluster without it,
// brings the sample to Ready, upgrades the release, and uninstalls it: what
// tenants have stays as it is. In the end the operator of the other tests is
// back.
func TestHelm(t *testing.T) {
	s := start(t)
	ctx := testContext(t, 10*time.Minute)
	program, err := s.Builder().Tool(ctx, "helm")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	env := append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	if _, err := s.ImportOperator(ctx); err != nil {
		t.Fatal(err)
	}
	remove(ctx, t, s, scenario.Release{Repo: s.Builder().Repo})
	begin := time.Now()
	dir := filepath.Join(s.Builder().Repo, "charts/meshvm")
	var pod *corev1.Pod
	var before scenario.Snapshot
	step := func(name string, do func(*chart)) {
		if !t.Run(name, func(t *testing.T) { do(&chart{t, s, program, env}) }) {
			t.FailNow()
		}
	}
	t.Cleanup(func() { restore(t, s, program, env) })
	step("install", func(c *chart) {
		c.Log(c.helm(ctx, "install", "meshvm", dir, "--create-namespace", "--wait"))
		var err error
		if pod, _, err = s.Sample(ctx); err != nil {
			c.Fatal(err)
		}
		checkSkew(ctx, c.T, s, pod)
		before = c.snapshot(ctx, pod)
	})
	step("upgrade", func(c *chart) {
		secret, bundle := c.certificates(ctx)
		c.helm(ctx, "upgrade", "meshvm", newerKinds(c.T, dir), "--wait", "--set", "replicas=2,config.logging.level=Debug")
		if n := len(managers(ctx, c.T, s)); n < 2 {
			c.Errorf("%d managers", n)
		}
		c.works(ctx)
		c.unchanged(before, c.snapshot(ctx, pod))
		if columns, _, _ := unstructured.NestedSlice(c.kind(ctx).Object, "spec", "versions"); !strings.Contains(dump(columns), newColumn) {
			c.Errorf("the kind was not upgraded with the release")
		}
		if s, b := c.certificates(ctx); s != secret || b != bundle {
			c.Error("the webhook's authority was written over")
		}
	})
	step("uninstall", func(c *chart) {
		for _, m := range managers(ctx, c.T, s) {
			earlierPods[string(m.UID)] = true // they lose their rights before they end
		}
		c.Log(c.helm(ctx, "uninstall", "meshvm", "--wait"))
		c.gone(ctx)
		// For the next manager not to wait until it expires: docs/install.md.
		if err := s.Kubectl(ctx, cluster.Stdio{}, "-n", scenario.OperatorNamespace, "delete", "leases", "--all"); err != nil {
			c.Error(err)
		}
		c.kind(ctx)
		m, err := s.MeshedVirtualMachine(ctx)
		if err != nil || m.DeletionTimestamp != nil {
			c.Fatalf("the sample is being deleted (%v)", err)
		}
		c.unchanged(before, c.snapshot(ctx, pod))
	})
	step("another installation", func(c *chart) {
		if err := s.DeployOperator(ctx); err != nil {
			c.Fatal(err)
		}
		c.works(ctx)
		c.unchanged(before, c.snapshot(ctx, pod))
		deployed = s
	})
	t.Logf("all of it: %.1f s", time.Since(begin).Seconds())
}

// restore brings back the operator of the other tests when a step failed.
func restore(t *testing.T, s *scenario.Scenario, program string, env []string) {
	t.Helper()
	if deployed == s {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "uninstall", "meshvm", "--ignore-not-found", "--namespace", scenario.OperatorNamespace)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("helm uninstall: %v\n%s", err, out)
	}
	if err := s.DeployOperator(ctx); err != nil {
		t.Error(err)
	}
}

func (c *chart) snapshot(ctx context.Context, pod *corev1.Pod) scenario.Snapshot {
	c.Helper()
	snap, err := c.s.Snapshot(ctx, pod)
	if err != nil {
		c.Fatal(err)
	}
	return snap
}

// unchanged wants the same operator to have left even the table alone.
func (c *chart) unchanged(before, after scenario.Snapshot) {
	c.Helper()
	scenario.CompareSnapshots(c.T, before, after)
	if before.TableHandle != after.TableHandle || before.Digest != after.Digest {
		c.Error("the table was written again")
	}
}

// works waits until the operator has made something again that was deleted.
func (c *chart) works(ctx context.Context) {
	c.Helper()
	find := func() (*unstructured.Unstructured, error) {
		u := object("DestinationRule", scenario.Name)
		u.SetAPIVersion("networking.istio.io/v1")
		return u, c.s.Get(ctx, client.ObjectKeyFromObject(u), u)
	}
	old, err := find()
	if err != nil {
		c.Fatal(err)
	}
	if err := c.s.Delete(ctx, old); err != nil {
		c.Fatal(err)
	}
	begin := time.Now()
	await(ctx, c.T, "the DestinationRule to come back", func() bool {
		u, err := find()
		return err == nil && u.GetUID() != old.GetUID()
	})
	c.Logf("the operator made a deleted DestinationRule again after %.1f s", time.Since(begin).Seconds())
	if _, err := c.s.WaitReady(ctx); err != nil {
		c.Fatal(err)
	}
}

// newColumn is what newerKinds adds to the kind's definition.
const newColumn = "Since"

// newerKinds is a copy of the chart with another definition of the kind.
func newerKinds(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "meshvm")
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(out, "files/crds/meshedvirtualmachines.yaml")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(old, []byte(" name: Age\n"), []byte(" name: "+newColumn+"\n"), 1)
	if bytes.Equal(old, newer) {
		t.Fatalf("%s has no column Age", file)
	}
	if err := os.WriteFile(file, newer, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// kind is the definition of MeshedVirtualMachine.
func (c *chart) kind(ctx context.Context) *unstructured.Unstructured {
	c.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apiextensions.k8s.io/v1")
	u.SetKind("CustomResourceDefinition")
	if err := c.s.Get(ctx, client.ObjectKey{Name: "meshedvirtualmachines.meshvm.io"}, u); err != nil {
		c.Fatal(err)
	}
	if u.GetDeletionTimestamp() != nil {
		c.Fatal("the kind is being deleted")
	}
	return u
}

// dump is a value as text.
func dump(v any) string { return fmt.Sprint(v) }

// certificates are what the manager wrote into objects of the release: the
// webhook's authority, and what API servers trust.
func (c *chart) certificates(ctx context.Context) (secret, bundle string) {
	c.Helper()
	s, w := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	s.SetAPIVersion("v1")
	s.SetKind("Secret")
	w.SetAPIVersion("admissionregistration.k8s.io/v1")
	w.SetKind("MutatingWebhookConfiguration")
	if err := c.s.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: "meshvm-webhook-ca"}, s); err != nil {
		c.Fatal(err)
	}
	if err := c.s.Get(ctx, client.ObjectKey{Name: "meshvm"}, w); err != nil {
		c.Fatal(err)
	}
	hooks, _, _ := unstructured.NestedSlice(w.Object, "webhooks")
	secret, bundle = dump(s.Object["data"]), dump(hooks)
	if !strings.Contains(bundle, "caBundle") || secret == "<nil>" {
		c.Errorf("no authority yet: %s", bundle)
	}
	return secret, bundle
}

// gone waits until no manager is left.
func (c *chart) gone(ctx context.Context) {
	c.Helper()
	if err := c.s.OperatorGone(ctx); err != nil {
		c.Fatal(err)
	}
	d := &unstructured.Unstructured{}
	d.SetAPIVersion("apps/v1")
	d.SetKind("Deployment")
	if err := c.s.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: scenario.OperatorDeployment}, d); !apierrors.IsNotFound(err) {
		c.Errorf("the Deployment exists (%v)", err)
	}
}
