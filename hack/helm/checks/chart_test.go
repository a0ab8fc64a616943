// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// chartDir is the directory of the chart.
const chartDir = "../../../charts/meshvm"

// namespace is the operator's namespace in config/.
const namespace = "meshvm-system"

// install renders the chart like "helm install --dry-run=client". set has the
// syntax of the flag --set.
func install(t *testing.T, namespace, set string) (*release.Release, error) {
	t.Helper()
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	values, err := strvals.Parse(set)
	if err != nil {
		t.Fatal(err)
	}
	in := action.NewInstall(action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler)))
	in.DryRunStrategy = action.DryRunClient
	in.ReleaseName, in.Namespace = "meshvm", namespace
	// The oldest version that kubeVersion in Chart.yaml allows.
	in.KubeVersion = &common.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	r, err := in.Run(chart, values)
	if err != nil {
		return nil, err
	}
	return r.(*release.Release), nil //nolint:forcetypeassert // the chart is of API version 2
}

// render returns the objects of a release by kind and name.
func render(t *testing.T, namespace, set string) map[string]*unstructured.Unstructured {
	t.Helper()
	r, err := install(t, namespace, set)
	if err != nil {
		t.Fatalf("--set %s: %v", set, err)
	}
	return decode(t, []byte(r.Manifest))
}

// decode returns the objects of a manifest by kind and name.
func decode(t *testing.T, manifest []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var u unstructured.Unstructured
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		key := u.GetKind() + "/" + u.GetName()
		if objects[key] != nil {
			t.Errorf("the manifest contains %s twice", key)
		}
		objects[key] = &u
	}
}

// TestLint runs "helm lint --strict" on the chart.
func TestLint(t *testing.T) {
	lint := action.NewLint()
	lint.Strict = true
	for _, m := range lint.Run([]string{chartDir}, nil).Messages {
		// The icon is part of the OLM bundle.
		if m.Err.Error() != "icon is recommended" {
			t.Error(m)
		}
	}
}

// TestSize checks that Helm can store a release in a Secret. The API server
// limits Secrets to 1 MiB.
func TestSize(t *testing.T) {
	r, err := install(t, namespace, "openshift.enabled=true,monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true")
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	if err := driver.NewSecrets(client.CoreV1().Secrets(namespace)).Create("release", r); err != nil {
		t.Fatal(err)
	}
	secret, err := client.Tracker().Get(secrets, namespace, "release")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("manifest: %d bytes, Secret of the release: %d bytes", len(r.Manifest), len(raw))
	if len(raw) > 512*1024 {
		t.Errorf("the Secret of the release has %d bytes, want at most half of the limit", len(raw))
	}
}

// field returns the value at path in an object as text: maps and lists as JSON,
// and "" if it does not exist. A path selects items of lists by their names.
func field(u *unstructured.Unstructured, path ...string) string {
	var here any = u.Object
	for _, name := range path {
		switch v := here.(type) {
		case map[string]any:
			here = v[name]
		case []any:
			here = nil
			for _, item := range v {
				if m, ok := item.(map[string]any); ok && m["name"] == name {
					here = item
				}
			}
		default:
			here = nil
		}
	}
	switch v := here.(type) {
	case nil:
		return ""
	case map[string]any, []any:
		raw, err := yaml.Marshal(v)
		if err != nil {
			return err.Error()
		}
		raw, _ = yaml.YAMLToJSON(raw)
		return string(raw)
	default:
		return fmt.Sprint(v)
	}
}
