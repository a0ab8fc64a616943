// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// onOpenShift contains the values that correspond to config/openshift.
const onOpenShift = "openshift.enabled=true,webhook.certificate=ServiceCA,monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true"

// overlays maps the directories of config/ that users install to the values that
// correspond to them.
var overlays = map[string]string{
	"default":     "",
	"certmanager": "webhook.certificate=CertManager",
	"no-webhook":  "webhook.enabled=false",
	"prometheus":  "monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true",
	"openshift":   onOpenShift,
}

// TestEqualsConfig compares the objects that the chart and kustomize render, field
// by field.
func TestEqualsConfig(t *testing.T) {
	for overlay, set := range overlays {
		t.Run(overlay, func(t *testing.T) {
			want := build(t, overlay)
			got := render(t, namespace, strings.TrimPrefix(set+",namespace.enabled=true", ","))
			for _, o := range got {
				removeChartMetadata(t, o)
			}
			for _, objects := range []map[string]*unstructured.Unstructured{want, got} {
				for _, o := range objects {
					normalize(t, o)
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("config/%s (-) and the chart (+) differ. Change the templates in charts/meshvm or, for CRDs, roles and alerts, run \"make chart\":\n%s", overlay, diff)
			}
			t.Logf("config/%s and the chart: %d objects", overlay, len(want))
		})
	}
}

// TestOpenShiftAsDocumented checks that the documented values for OpenShift are the
// values that TestEqualsConfig compares.
func TestOpenShiftAsDocumented(t *testing.T) {
	for _, file := range []string{chartDir + "/README.md", "../../../docs/install.md"} {
		contains(t, file, onOpenShift)
	}
}

// build returns the objects of a directory of config/ by kind and name.
func build(t *testing.T, overlay string) map[string]*unstructured.Unstructured {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("../../../config", overlay))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, raw)
}

// removeChartMetadata removes the labels and annotations that only the chart adds,
// and checks that they exist.
func removeChartMetadata(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	labels := o.GetLabels()
	for _, l := range []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
		if labels[l] == "" {
			t.Errorf("%s %s has no label %s", o.GetKind(), o.GetName(), l)
		}
		delete(labels, l)
	}
	o.SetLabels(labels)
	const policy = "helm.sh/resource-policy"
	annotations := o.GetAnnotations()
	if keep := o.GetKind() == "CustomResourceDefinition" || o.GetKind() == "Namespace"; keep != (annotations[policy] == "keep") {
		t.Errorf("%s %s: %s is %q", o.GetKind(), o.GetName(), policy, annotations[policy])
	}
	delete(annotations, policy)
	o.SetAnnotations(annotations)
}

// normalize removes differences without a meaning: it parses the text of the
// manager's configuration, sorts volumes, and removes empty maps.
func normalize(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	if text := field(o, "data", "config.yaml"); text != "" {
		var parsed map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		o.Object["data"] = map[string]any{"config.yaml": parsed}
	}
	if o.GetKind() == "Deployment" {
		pod := o.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
		byName(pod["volumes"])
		for _, c := range pod["containers"].([]any) {
			byName(c.(map[string]any)["volumeMounts"])
		}
	}
	for _, empty := range []string{"labels", "annotations"} {
		if m, ok := o.Object["metadata"].(map[string]any)[empty].(map[string]any); ok && len(m) == 0 {
			unstructured.RemoveNestedField(o.Object, "metadata", empty)
		}
	}
}

// byName sorts a list of objects by their names.
func byName(list any) {
	items, _ := list.([]any)
	slices.SortFunc(items, func(a, b any) int {
		name := func(v any) string { s, _ := v.(map[string]any)["name"].(string); return s }
		return cmp.Compare(name(a), name(b))
	})
}

// TestChartFile checks that Chart.yaml has the version and the description of the
// operator.
func TestChartFile(t *testing.T) {
	var chart struct{ Version, AppVersion, KubeVersion, Description, Home string }
	readYAML(t, chartDir+"/Chart.yaml", &chart)
	var csv struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct{ Version, MinKubeVersion string }
	}
	readYAML(t, "../../../config/manifests/bases/meshvm.clusterserviceversion.yaml", &csv)
	for field, pair := range map[string][2]string{
		"version":     {chart.Version, csv.Spec.Version},
		"appVersion":  {chart.AppVersion, csv.Spec.Version},
		"kubeVersion": {chart.KubeVersion, ">=" + csv.Spec.MinKubeVersion + "-0"},
		"description": {chart.Description, csv.Metadata.Annotations["description"]},
		"home":        {chart.Home, csv.Metadata.Annotations["repository"]},
	} {
		if pair[0] != pair[1] || pair[0] == "" {
			t.Errorf("%s of Chart.yaml is %q, want %q as in config/manifests/bases", field, pair[0], pair[1])
		}
	}
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
