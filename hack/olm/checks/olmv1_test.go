// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// TestOLMv1 applies OLM v1's rules for registry+v1 bundles:
// operator-controller, rukpak/render/registryv1/validators/validator.go and
// docs/project/olmv1_limitations.md.
func TestOLMv1(t *testing.T) {
	for name, check := range map[string]func(*testing.T, *manifests.Bundle){
		"deployments have unique, valid names": v1Deployments,
		"owned kinds exist once":               v1Kinds,
		"package has a name":                   v1Package,
		"webhooks":                             v1Webhooks,
		"all objects are of supported kinds":   v1Objects,
		"installs for all namespaces":          v1InstallModes,
		"declares no dependency":               v1Dependencies,
		"does not use OperatorConditions":      v1OperatorConditions,
	} {
		t.Run(name, func(t *testing.T) { check(t, load(t)) })
	}
}

func v1Deployments(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	seen := map[string]bool{}
	for _, d := range b.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs {
		if seen[d.Name] {
			t.Errorf("duplicate deployment %s", d.Name)
		}
		seen[d.Name] = true
		for _, msg := range validation.IsDNS1123Subdomain(d.Name) {
			t.Errorf("deployment %s: %s", d.Name, msg)
		}
	}
	if len(seen) == 0 {
		t.Error("no deployment")
	}
}

func v1Kinds(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	count := map[string]int{}
	for _, crd := range b.V1CRDs {
		count[crd.Name]++
	}
	for name, n := range count {
		if n > 1 {
			t.Errorf("%s exists %d times", name, n)
		}
	}
	for _, o := range b.CSV.Spec.CustomResourceDefinitions.Owned {
		if count[o.Name] == 0 {
			t.Errorf("%s is owned but not in the bundle", o.Name)
		}
	}
}

func v1Package(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	if b.Package == "" {
		t.Error("the package does not have a name")
	}
}

func v1Webhooks(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	deployments := map[string]bool{}
	for _, d := range b.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs {
		deployments[d.Name] = true
	}
	names, converted := map[string]bool{}, map[string]bool{}
	for _, w := range b.CSV.Spec.WebhookDefinitions {
		key := string(w.Type) + " " + w.GenerateName
		if names[key] {
			t.Errorf("duplicate webhook %s", key)
		}
		names[key] = true
		for _, msg := range validation.IsDNS1123Subdomain(w.GenerateName) {
			t.Errorf("webhook %s: %s", key, msg)
		}
		if !deployments[w.DeploymentName] {
			t.Errorf("webhook %s: deployment %q does not exist", key, w.DeploymentName)
		}
		for _, crd := range w.ConversionCRDs {
			if converted[crd] {
				t.Errorf("two conversion webhooks for %s", crd)
			}
			converted[crd] = true
		}
		webhookRules(t, key, w)
	}
}

func webhookRules(t *testing.T, key string, w v1alpha1.WebhookDescription) {
	t.Helper()
	for _, r := range w.Rules {
		for _, group := range r.APIGroups {
			if group == "*" || group == "olm.operatorframework.io" {
				t.Errorf("webhook %s: must not select group %s", key, group)
			}
			if group == "admissionregistration.k8s.io" {
				t.Errorf("webhook %s: must not select admission configurations", key)
			}
		}
	}
}

// v1ObjectKinds are the supported kinds of objects: operator-registry,
// pkg/lib/bundle/supported_resources.go, without PodMonitor and
// VerticalPodAutoscaler, which only one of OLM v0 and v1 supports.
var v1ObjectKinds = []string{
	"ClusterServiceVersion", "CustomResourceDefinition", "Secret", "ClusterRole", "ClusterRoleBinding", "ConfigMap",
	"ServiceAccount", "Service", "Role", "RoleBinding", "PrometheusRule", "ServiceMonitor", "PodDisruptionBudget",
	"PriorityClass", "ConsoleYAMLSample", "ConsoleQuickStart", "ConsoleCLIDownload", "ConsoleLink", "ConsolePlugin",
	"NetworkPolicy",
}

func v1Objects(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	for _, o := range b.Objects {
		if !slices.Contains(v1ObjectKinds, o.GetKind()) {
			t.Errorf("%s %s: OLM does not apply this kind", o.GetKind(), o.GetName())
		}
		if o.GetNamespace() != "" {
			t.Errorf("%s %s sets the namespace %s, which OLM chooses", o.GetKind(), o.GetName(), o.GetNamespace())
		}
	}
}

func v1InstallModes(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	want := map[v1alpha1.InstallModeType]bool{
		v1alpha1.InstallModeTypeOwnNamespace: false, v1alpha1.InstallModeTypeSingleNamespace: false,
		v1alpha1.InstallModeTypeMultiNamespace: false, v1alpha1.InstallModeTypeAllNamespaces: true,
	}
	for _, m := range b.CSV.Spec.InstallModes {
		if supported, ok := want[m.Type]; !ok || supported != m.Supported {
			t.Errorf("install mode %s: supported %t", m.Type, m.Supported)
		}
		delete(want, m.Type)
	}
	for mode := range want {
		t.Errorf("install mode %s is missing", mode)
	}
}

func v1Dependencies(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	for _, name := range []string{"metadata/dependencies.yaml", "metadata/properties.yaml"} {
		if _, err := os.Stat(filepath.Join(bundleDir, name)); err == nil {
			t.Errorf("%s must not exist", name)
		}
	}
	if len(b.Dependencies) > 0 || len(b.CSV.Spec.CustomResourceDefinitions.Required) > 0 || len(b.CSV.Spec.APIServiceDefinitions.Required) > 0 {
		t.Error("the ClusterServiceVersion requires kinds")
	}
	for key := range b.CSV.Annotations {
		if strings.HasPrefix(key, "olm.") && key != v1alpha1.SkipRangeAnnotationKey {
			t.Errorf("annotation %s", key)
		}
	}
}

func v1OperatorConditions(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	for _, p := range b.CSV.Spec.InstallStrategy.StrategySpec.ClusterPermissions {
		for _, r := range p.Rules {
			if slices.Contains(r.Resources, "operatorconditions") {
				t.Error("the manager has permissions for operatorconditions")
			}
		}
	}
	for _, o := range b.Objects {
		if raw, _ := o.MarshalJSON(); o.GetKind() == "Role" && strings.Contains(string(raw), "operatorconditions") {
			t.Errorf("Role %s has permissions for operatorconditions", o.GetName())
		}
	}
}
