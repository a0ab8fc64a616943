// SPDX-License-Identifier: Apache-2.0

//go:build linux

package olm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// packageName is the name of the operator's package in catalogs.
const packageName = "meshvm"

// bundle is one version of the operator in a catalog.
type bundle struct {
	version string
	dir     string // manifests/, metadata/
	image   string // with digest
}

func (b bundle) csv() string { return packageName + ".v" + b.version }

// must fails the test immediately.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deployOLM imports OLM's images and applies its manifests.
func deployOLM(ctx context.Context, t *testing.T, s *scenario.Scenario) {
	t.Helper()
	archive, err := s.Builder().OLMImages(ctx)
	must(t, err)
	must(t, s.ImportImageOnce(ctx, "olm", archive))
	manifests, err := s.Builder().OLMManifests(ctx)
	must(t, err)
	must(t, s.ApplyManifest(ctx, manifests))
	console, err := s.Builder().ConsoleYAMLSampleCRD(ctx)
	must(t, err)
	must(t, s.ApplyManifest(ctx, console))
	monitoring, err := cluster.MonitoringKinds()
	must(t, err)
	must(t, s.ApplyManifest(ctx, monitoring))
	for _, name := range []string{"olm-operator", "catalog-operator"} {
		must(t, s.Wait(ctx, name, func(ctx context.Context) (string, error) {
			return s.PodState(ctx, builder.OLMNamespace, "app", name)
		}))
	}
}

// makeBundle builds the operator's images from the checkout with the version as
// their tag, the bundle that refers to the images by digest, and the image of
// the bundle.
func makeBundle(ctx context.Context, t *testing.T, s *scenario.Scenario, version string) bundle {
	t.Helper()
	r, err := s.HeadRelease(ctx, version)
	must(t, err)
	b := bundle{version: version, dir: filepath.Join(t.TempDir(), "bundle-"+version)}
	args := []string{"-config", filepath.Join(r.Repo, "config/manifests"), "-out", b.dir, "-version", version}
	for from, to := range r.Images {
		pinned, err := s.Digested(ctx, to)
		must(t, err)
		args = append(args, "-image", from+"="+pinned)
	}
	manifests, err := s.Kustomize(ctx, filepath.Join(r.Repo, "config/manifests"))
	must(t, err)
	tool, err := s.Builder().BundleTool(ctx)
	must(t, err)
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdin = bytes.NewReader(manifests)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	name := "localhost/meshvm/bundle:" + version
	archive, err := s.Builder().BundleImage(ctx, name, b.dir)
	must(t, err)
	must(t, s.ImportImageOnce(ctx, "bundle "+version, archive))
	b.image, err = s.Digested(ctx, name)
	must(t, err)
	return b
}

// makeCatalog renders the bundles into a file-based catalog with one channel,
// in which each bundle replaces the previous bundle, and returns the image that
// serves the catalog.
func makeCatalog(ctx context.Context, t *testing.T, s *scenario.Scenario, bundles ...bundle) string {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	fmt.Fprintf(&out, "---\nschema: olm.package\nname: %s\ndefaultChannel: test\n---\nschema: olm.channel\npackage: %[1]s\nname: test\nentries:\n", packageName)
	for i, b := range bundles {
		fmt.Fprintf(&out, "- name: %s\n", b.csv())
		if i > 0 {
			fmt.Fprintf(&out, "  replaces: %s\n", bundles[i-1].csv())
		}
	}
	opm, err := s.Builder().Tool(ctx, "opm")
	must(t, err)
	for _, b := range bundles {
		cmd := exec.CommandContext(ctx, opm, "render", b.dir, "--alpha-image-ref-template", b.image, "--output", "yaml")
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		must(t, cmd.Run())
	}
	must(t, os.WriteFile(filepath.Join(dir, "catalog.yaml"), out.Bytes(), 0o644))
	if out, err := exec.CommandContext(ctx, opm, "validate", dir).CombinedOutput(); err != nil {
		t.Fatalf("opm validate: %v\n%s", err, out)
	}
	const name = "localhost/meshvm/catalog:test"
	archive, err := s.Builder().CatalogImage(ctx, name, dir)
	must(t, err)
	must(t, s.ImportImageOnce(ctx, "catalog", archive))
	return name
}

// subscription contains the objects that an administrator applies: the
// namespace, the catalog, the OperatorGroup for all namespaces, and the
// Subscription. A Deployment serves the catalog, because OLM's catalog pod
// requires grpc_health_probe in its image, whose module is not available.
var subscription = template.Must(template.New("subscription").Parse(`
apiVersion: v1
kind: Namespace
metadata:
  name: {{.Namespace}}
  labels:
    pod-security.kubernetes.io/enforce: privileged
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: meshvm-catalog, namespace: {{.Namespace}}}
spec:
  selector: {matchLabels: {app: meshvm-catalog}}
  template:
    metadata: {labels: {app: meshvm-catalog}}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: catalog
        image: {{.Catalog}}
        imagePullPolicy: IfNotPresent
        args: [serve, /configs]
        readinessProbe: {tcpSocket: {port: 50051}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: meshvm-catalog, namespace: {{.Namespace}}}
spec:
  clusterIP: {{.Address}}
  selector: {app: meshvm-catalog}
  ports: [{port: 50051}]
---
apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata: {name: meshvm, namespace: {{.Namespace}}}
spec: {sourceType: grpc, address: "{{.Address}}:50051", displayName: meshvm}
---
apiVersion: operators.coreos.com/v1
kind: OperatorGroup
metadata: {name: meshvm, namespace: {{.Namespace}}}
spec: {}
---
apiVersion: operators.coreos.com/v1alpha1
kind: Subscription
metadata: {name: meshvm, namespace: {{.Namespace}}}
spec:
  source: meshvm
  sourceNamespace: {{.Namespace}}
  name: {{.Package}}
  channel: test
  startingCSV: {{.First}}
  installPlanApproval: Manual
`))

// catalogAddress is an unused cluster IP, because the cluster of these tests
// does not run a DNS server.
const catalogAddress = "10.96.0.51"

func subscribe(ctx context.Context, t *testing.T, s *scenario.Scenario, catalog string, first bundle) {
	t.Helper()
	var out bytes.Buffer
	must(t, subscription.Execute(&out, map[string]string{
		"Namespace": scenario.OperatorNamespace, "Catalog": catalog, "Address": catalogAddress,
		"Package": packageName, "First": first.csv(),
	}))
	must(t, s.ApplyManifest(ctx, out.Bytes()))
}

// olmObject returns an object of an OLM kind in the operator's namespace.
func olmObject(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("operators.coreos.com/v1alpha1")
	u.SetKind(kind)
	u.SetNamespace(scenario.OperatorNamespace)
	u.SetName(name)
	return u
}

// approve waits for the install plan of a version and approves it.
func approve(ctx context.Context, t *testing.T, s *scenario.Scenario, b bundle) {
	t.Helper()
	must(t, s.Wait(ctx, "the install plan of "+b.csv(), func(ctx context.Context) (string, error) {
		plans := &unstructured.UnstructuredList{}
		plans.SetAPIVersion("operators.coreos.com/v1alpha1")
		plans.SetKind("InstallPlanList")
		if err := s.List(ctx, plans, client.InNamespace(scenario.OperatorNamespace)); err != nil {
			return "", err
		}
		for i := range plans.Items {
			p := &plans.Items[i]
			names, _, _ := unstructured.NestedStringSlice(p.Object, "spec", "clusterServiceVersionNames")
			if strings.Join(names, " ") == b.csv() {
				return "", s.Patch(ctx, p, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"approved":true}}`)))
			}
		}
		return fmt.Sprintf("(%d others)", len(plans.Items)), nil
	}))
}

// succeeded waits until OLM reports that a version is installed.
func succeeded(ctx context.Context, t *testing.T, s *scenario.Scenario, b bundle, seen func(phase string)) {
	t.Helper()
	last := ""
	must(t, s.Wait(ctx, "CSV "+b.csv(), func(ctx context.Context) (string, error) {
		csv := olmObject("ClusterServiceVersion", b.csv())
		if err := s.Get(ctx, client.ObjectKeyFromObject(csv), csv); err != nil {
			return "", err
		}
		phase, _, _ := unstructured.NestedString(csv.Object, "status", "phase")
		if phase != last && phase != "" {
			last = phase
			seen(phase)
		}
		if phase == "Succeeded" {
			return "", nil
		}
		message, _, _ := unstructured.NestedString(csv.Object, "status", "message")
		return phase + " " + message, nil
	}))
}
