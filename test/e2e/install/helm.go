// SPDX-License-Identifier: Apache-2.0

//go:build linux

package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// release is a release of the operator's Helm chart in the cluster. Its machine is
// the sample in the test's namespace.
type release struct {
	*scenario.Scenario
	program string
	env     []string
	dir     string
	pod     *corev1.Pod
	before  scenario.Snapshot
}

// run runs Helm with the administrator's kubeconfig and returns its output.
func (r *release) run(ctx context.Context, t *suite.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, r.program, append(args, "--namespace", scenario.OperatorNamespace)...)
	cmd.Env = r.env
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("helm %s: %.1f s", strings.Join(args, " "), time.Since(begin).Seconds())
	if err != nil {
		t.Fatalf("helm: %v\n%s", err, out)
	}
	return string(out)
}

// helm installs the operator with its chart, creates the sample, upgrades the
// release, and uninstalls it. The objects and the table of the sample must not
// change. Then the operator is installed from config/default.
func helm(t *suite.T) {
	ctx := t.Limit(10 * time.Minute)
	t.WithoutOperator()
	base := t.Scenario()
	program, err := base.Builder().Tool(ctx, "helm")
	t.NoError(err)
	_, err = base.ImportOperator(ctx)
	t.NoError(err)
	home := t.TempDir()
	r := &release{
		Scenario: t.Namespace("helm"), program: program, dir: filepath.Join(base.Builder().Repo, "charts/meshvm"),
		env: append(os.Environ(), "KUBECONFIG="+base.Kubeconfig, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home),
	}
	installed := false
	// The namespace cannot be deleted without an operator.
	t.Cleanup(func() {
		if !installed {
			r.recover(t)
		}
	})
	for _, step := range []struct {
		name string
		run  func(t *suite.T)
	}{{"install", r.install}, {"upgrade", r.upgrade}, {"uninstall", r.uninstall}} {
		if !t.Step(step.name, step.run) {
			t.FailNow()
		}
	}
	t.Step("another installation", func(t *suite.T) {
		ctx := t.Limit(5 * time.Minute)
		t.NoError(r.DeployOperator(ctx))
		installed = true
		r.checkOperator(ctx, t)
		r.checkUnchanged(ctx, t)
	})
}

func (r *release) install(t *suite.T) {
	ctx := t.Limit(5 * time.Minute)
	t.Log(r.run(ctx, t, "install", "meshvm", r.dir, "--create-namespace", "--wait"))
	s := t.Sample(r.Scenario)
	r.pod = s.Pod
	r.before = r.snapshot(ctx, t)
}

func (r *release) upgrade(t *suite.T) {
	ctx := t.Limit(5 * time.Minute)
	secret, bundle := r.certificates(ctx, t)
	r.run(ctx, t, "upgrade", "meshvm", newerChart(t, r.dir), "--wait", "--set", "replicas=2,config.logging.level=Debug")
	if n := len(t.Managers(ctx)); n < 2 {
		t.Errorf("%d manager pods, want 2", n)
	}
	r.checkOperator(ctx, t)
	r.checkUnchanged(ctx, t)
	if versions, _, _ := unstructured.NestedSlice(r.readCRD(ctx, t).Object, "spec", "versions"); !strings.Contains(fmt.Sprint(versions), newColumn) {
		t.Error("the CRD was not upgraded with the release")
	}
	if s, b := r.certificates(ctx, t); s != secret || b != bundle {
		t.Error("the certificate authority of the webhook was overwritten")
	}
}

func (r *release) uninstall(t *suite.T) {
	ctx := t.Limit(5 * time.Minute)
	t.IgnoreManagers(ctx) // they lose their permissions before they end
	t.Log(r.run(ctx, t, "uninstall", "meshvm", "--wait"))
	t.NoError(r.OperatorGone(ctx))
	d := &unstructured.Unstructured{}
	d.SetAPIVersion("apps/v1")
	d.SetKind("Deployment")
	if err := r.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: scenario.OperatorDeployment}, d); !apierrors.IsNotFound(err) {
		t.Errorf("the Deployment exists after the release was uninstalled (error: %v)", err)
	}
	// Otherwise the next manager waits until the lease expires: docs/install.md.
	if err := r.Kubectl(ctx, cluster.Stdio{}, "-n", scenario.OperatorNamespace, "delete", "leases", "--all"); err != nil {
		t.Error(err)
	}
	r.readCRD(ctx, t)
	m, err := r.MeshedVirtualMachine(ctx)
	if err != nil || m.DeletionTimestamp != nil {
		t.Fatalf("the sample is being deleted (error: %v)", err)
	}
	r.checkUnchanged(ctx, t)
}

// recover deploys an operator after a step failed, so that the namespace can be
// deleted.
func (r *release) recover(t *suite.T) {
	t.Helper()
	ctx, cancel := t.CleanupLimit(3 * time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.program, "uninstall", "meshvm", "--ignore-not-found", "--namespace", scenario.OperatorNamespace)
	cmd.Env = r.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("helm uninstall: %v\n%s", err, out)
	}
	if err := r.DeployOperator(ctx); err != nil {
		t.Error(err)
	}
}

func (r *release) snapshot(ctx context.Context, t *suite.T) scenario.Snapshot {
	t.Helper()
	snap, err := r.Snapshot(ctx, r.pod)
	t.NoError(err)
	return snap
}

// checkUnchanged checks that the sample is the same as after the installation. The
// same version of the operator does not write the table again.
func (r *release) checkUnchanged(ctx context.Context, t *suite.T) {
	t.Helper()
	after := r.snapshot(ctx, t)
	scenario.CompareSnapshots(t, r.before, after)
	if r.before.TableHandle != after.TableHandle || r.before.Digest != after.Digest {
		t.Error("the table was written again")
	}
}

// checkOperator deletes the sample's DestinationRule. The operator must create it
// again.
func (r *release) checkOperator(ctx context.Context, t *suite.T) {
	t.Helper()
	find := func() (*unstructured.Unstructured, error) {
		u := suite.Object("DestinationRule", r.SampleKey())
		u.SetAPIVersion("networking.istio.io/v1")
		return u, r.Get(ctx, r.SampleKey(), u)
	}
	old, err := find()
	t.NoError(err)
	t.NoError(r.Delete(ctx, old))
	begin := time.Now()
	t.Await(ctx, "the DestinationRule to be created again", func() bool {
		u, err := find()
		return err == nil && u.GetUID() != old.GetUID()
	})
	t.Logf("the operator created a deleted DestinationRule again after %.1f s", time.Since(begin).Seconds())
	_, err = r.WaitReady(ctx)
	t.NoError(err)
}

// newColumn is the name of a column in newerChart.
const newColumn = "Since"

// newerChart returns a copy of the chart with a changed CRD.
func newerChart(t *suite.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "meshvm")
	t.NoError(os.CopyFS(out, os.DirFS(dir)))
	file := filepath.Join(out, "files/crds/meshedvirtualmachines.yaml")
	old, err := os.ReadFile(file)
	t.NoError(err)
	newer := bytes.Replace(old, []byte(" name: Age\n"), []byte(" name: "+newColumn+"\n"), 1)
	if bytes.Equal(old, newer) {
		t.Fatalf("%s has no column Age", file)
	}
	t.NoError(os.WriteFile(file, newer, 0o644))
	return out
}

// readCRD reads the CRD of MeshedVirtualMachine.
func (r *release) readCRD(ctx context.Context, t *suite.T) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apiextensions.k8s.io/v1")
	u.SetKind("CustomResourceDefinition")
	t.NoError(r.Get(ctx, client.ObjectKey{Name: "meshedvirtualmachines.meshvm.io"}, u))
	if u.GetDeletionTimestamp() != nil {
		t.Fatal("the CRD is being deleted")
	}
	return u
}

// certificates returns the data that the manager wrote into objects of the release:
// the certificate authority of the webhook, and the webhooks with the authority
// that the API server trusts.
func (r *release) certificates(ctx context.Context, t *suite.T) (secret, bundle string) {
	t.Helper()
	s, w := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	s.SetAPIVersion("v1")
	s.SetKind("Secret")
	w.SetAPIVersion("admissionregistration.k8s.io/v1")
	w.SetKind("MutatingWebhookConfiguration")
	t.NoError(r.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: "meshvm-webhook-ca"}, s))
	t.NoError(r.Get(ctx, client.ObjectKey{Name: "meshvm"}, w))
	hooks, _, _ := unstructured.NestedSlice(w.Object, "webhooks")
	secret, bundle = fmt.Sprint(s.Object["data"]), fmt.Sprint(hooks)
	if !strings.Contains(bundle, "caBundle") || secret == "<nil>" {
		t.Errorf("the webhook has no certificate authority: %s", bundle)
	}
	return secret, bundle
}
