// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"cmp"
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

// onOpenShift are the values that make the chart what config/openshift is.
const onOpenShift = "openshift.enabled=true,webhook.certificate=ServiceCA,monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true"

// overlays are the directories of config/ that people install, with the values
// that stand for them.
var overlays = map[string]string{
	"default":     "",
	"certmanager": "webhook.certificate=CertManager",
	"no-webhook":  "webhook.enabled=false",
	"prometheus":  "monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true",
	"openshift":   onOpenShift,
}

// TestEqualsConfig compares the chart's objects with kustomize's, field by field.
func TestEqualsConfig(t *testing.T) {
	for overlay, set := range overlays {
		t.Run(overlay, func(t *testing.T) {
			want := build(t, overlay)
			got := render(t, namespace, strings.TrimPrefix(set+",namespace.enabled=true", ","))
			for _, o := range got {
				wanted(t, o)
			}
			for _, objects := range []map[string]*unstructured.Unstructured{want, got} {
				for _, o := range objects {
					normalise(t, o)
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("config/%s (-) and the chart (+) differ:\n%s", overlay, diff)
			}
			t.Logf("config/%s: %d objects, the chart's equal", overlay, len(want))
		})
	}
}

// TestOpenShiftAsDocumented: what the chart's README tells OpenShift's users to set is
// what TestEqualsConfig compares.
func TestOpenShiftAsDocumented(t *testing.T) {
	for _, file := range []string{chartDir + "/README.md", "../../../docs/install.md"} {
		contains(t, file, onOpenShift)
	}
}

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

// wanted takes away the differences that are wanted, each of which has to be there.
func wanted(t *testing.T, o *unstructured.Unstructured) {
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

// normalise makes objects equal that mean the same: the text of the manager's
// configuration is parsed, and volumes are sorted.
func normalise(t *testing.T, o *unstructured.Unstructured) {
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

func byName(list any) {
	items, _ := list.([]any)
	slices.SortFunc(items, func(a, b any) int {
		name := func(v any) string { s, _ := v.(map[string]any)["name"].(string); return s }
		return cmp.Compare(name(a), name(b))
	})
}
