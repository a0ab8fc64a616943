// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

// installed are the manifests that administrators apply: kustomize directories and
// file globs.
var installed = []struct{ name, from string }{
	{"default", "config/default"},
	{"certmanager", "config/certmanager"},
	{"no-webhook", "config/no-webhook"},
	{"prometheus", "config/prometheus"},
	{"openshift", "config/openshift"},
	{"samples", "config/samples"},
	{"examples of the bundle", "config/manifests/examples/*.yaml"},
	{"bundle", "bundle/manifests/*_*.yaml"},
}

// TestInstall applies every object of all installation methods with a server-side
// dry run, like "kubectl apply --server-side --dry-run=server". The CRDs of
// cert-manager, Prometheus Operator and the OpenShift console are the upstream ones.
func TestInstall(t *testing.T) {
	env := shared.Get(t)
	for _, install := range []func() error{
		func() error { return env.InstallCertManager(t.Context()) },
		func() error { return env.InstallMonitoring(t.Context()) },
		func() error { return env.InstallOpenShiftConsole(t.Context()) },
	} {
		if err := install(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, tc := range installed {
		t.Run(tc.name, func(t *testing.T) {
			objects := manifests(t, tc.from)
			fresh := 0
			for _, u := range objects {
				place(t, env, u)
				text := fmt.Sprint(u.Object)
				if seen[text] {
					continue // also part of a previous entry
				}
				seen[text] = true
				fresh++
				if err := dryRun(t, env, u); err != nil {
					t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
				}
				mistyped(t, env, u)
			}
			t.Logf("%d objects, %d of them not part of a previous entry", len(objects), fresh)
		})
	}
}

// mistyped checks that the API server rejects an unknown field at the top level and
// in the spec.
func mistyped(t *testing.T, env *testenv.Env, u *unstructured.Unstructured) {
	t.Helper()
	for _, path := range [][]string{{"typo"}, {"spec", "typo"}} {
		wrong := u.DeepCopy()
		if _, ok := wrong.Object[path[0]].(map[string]any); !ok && len(path) > 1 {
			continue
		}
		if err := unstructured.SetNestedField(wrong.Object, "x", path...); err != nil {
			t.Fatal(err)
		}
		if err := dryRun(t, env, wrong); err == nil || !strings.Contains(err.Error(), "typo") {
			t.Errorf("%s %s: want the field %s to be rejected, got: %v", u.GetKind(), u.GetName(), strings.Join(path, "."), err)
		}
	}
}

func dryRun(t *testing.T, env *testenv.Env, u *unstructured.Unstructured) error {
	t.Helper()
	u = u.DeepCopy()
	return env.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.DryRunAll, client.FieldOwner("test"), client.ForceOwnership)
}

// place creates the namespace of an object. Objects of the bundle do not name a
// namespace and are created in meshvm-system, as by OLM.
func place(t *testing.T, env *testenv.Env, u *unstructured.Unstructured) {
	t.Helper()
	mapping, err := env.Client.RESTMapper().RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
	if err != nil {
		t.Fatal(err)
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return
	}
	if u.GetNamespace() == "" {
		u.SetNamespace("meshvm-system")
	}
	ns := &unstructured.Unstructured{}
	ns.SetAPIVersion("v1")
	ns.SetKind("Namespace")
	ns.SetName(u.GetNamespace())
	if err := env.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(ns), client.FieldOwner("test")); err != nil {
		t.Fatal(err)
	}
}

// manifests returns the objects of an entry of installed.
func manifests(t *testing.T, from string) []*unstructured.Unstructured {
	t.Helper()
	path := filepath.Join(testenv.Root(), from)
	if !strings.Contains(from, "*") {
		command := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kustomize", path)
		raw, err := command.Output()
		if err != nil {
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				err = errors.Join(err, errors.New(string(exit.Stderr)))
			}
			t.Fatal(err)
		}
		return documentsOf(t, path, raw)
	}
	files, err := filepath.Glob(path)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s: %v", path, err)
	}
	var all []*unstructured.Unstructured
	for _, file := range files {
		all = append(all, documents(t, file)...)
	}
	return all
}

func documents(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return documentsOf(t, file, raw)
}

func documentsOf(t *testing.T, file string, raw []byte) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	for doc := range bytes.SplitSeq(raw, []byte("\n---\n")) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &u.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(u.Object) > 0 {
			list = append(list, u)
		}
	}
	return list
}
