// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestFeatures checks that all features that the OpenShift console requires
// have a value.
func TestFeatures(t *testing.T) {
	b := load(t)
	for _, f := range []string{"disconnected", "fips-compliant", "proxy-aware", "cnf", "cni", "csi", "tls-profiles", "token-auth-aws", "token-auth-azure", "token-auth-gcp"} {
		v := b.CSV.Annotations["features.operators.openshift.io/"+f]
		if v != "true" && v != "false" {
			t.Errorf("feature %s: %q, want true or false", f, v)
		}
	}
	for _, key := range []string{"operatorframework.io/suggested-namespace", "operatorframework.io/initialization-resource", "operators.operatorframework.io/internal-objects", "olm.skipRange", "containerImage", "createdAt", "support", "repository"} {
		if b.CSV.Annotations[key] == "" {
			t.Errorf("annotation %s is empty", key)
		}
	}
	for _, arch := range []string{"amd64", "arm64", "ppc64le", "s390x"} {
		if b.CSV.Labels["operatorframework.io/arch."+arch] != "supported" {
			t.Errorf("label of architecture %s is missing", arch)
		}
	}
	var internal []string
	if err := json.Unmarshal([]byte(b.CSV.Annotations["operators.operatorframework.io/internal-objects"]), &internal); err != nil || !slices.Equal(internal, []string{"podnatconfigurations.meshvm.io"}) {
		t.Errorf("internal objects: %q (%v)", internal, err)
	}
}

// TestRelatedImages checks that every image in the bundle is in the list from
// which mirrors are created. The feature "disconnected" requires this.
func TestRelatedImages(t *testing.T) {
	b := load(t)
	related := map[string]bool{}
	for _, r := range b.CSV.Spec.RelatedImages {
		related[r.Image] = true
	}
	for _, d := range b.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs {
		for _, c := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
			if !related[c.Image] {
				t.Errorf("image %s of container %s is not in relatedImages", c.Image, c.Name)
			}
			for _, e := range imageVariables(c) {
				if !related[e.Value] {
					t.Errorf("image %s of variable %s is not in relatedImages", e.Value, e.Name)
				}
			}
		}
	}
}

func imageVariables(c corev1.Container) []corev1.EnvVar {
	return slices.DeleteFunc(slices.Clone(c.Env), func(e corev1.EnvVar) bool {
		return !strings.HasSuffix(e.Name, "_IMAGE") && !strings.HasPrefix(e.Name, "RELATED_IMAGE_")
	})
}

// TestIcon decodes the icon as a browser does.
func TestIcon(t *testing.T) {
	b := load(t)
	if len(b.CSV.Spec.Icon) != 1 {
		t.Fatalf("%d icons", len(b.CSV.Spec.Icon))
	}
	raw, err := base64.StdEncoding.DecodeString(b.CSV.Spec.Icon[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	var svg struct {
		XMLName xml.Name
	}
	if err := xml.Unmarshal(raw, &svg); err != nil || svg.XMLName.Local != "svg" {
		t.Errorf("not an SVG: %s (%v)", svg.XMLName.Local, err)
	}
}

// TestPermissions checks that the CSV does not contain "permissions", because
// OLM grants them cluster-wide for an operator of all namespaces, that Jobs can
// be created in one namespace only, and that only the rule-writer can use the
// privileged SCC.
func TestPermissions(t *testing.T) {
	b := load(t)
	strategy := b.CSV.Spec.InstallStrategy.StrategySpec
	if len(strategy.Permissions) > 0 {
		t.Error("the CSV contains permissions, which OLM grants cluster-wide")
	}
	for _, p := range strategy.ClusterPermissions {
		for _, r := range p.Rules {
			for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
				if slices.Contains([]string{"*", "jobs", "secrets"}, word) {
					t.Errorf("cluster-wide rule %+v", r)
				}
			}
		}
	}
	bindings(t, b)
}

func bindings(t *testing.T, b *manifests.Bundle) {
	t.Helper()
	scc := 0
	for _, o := range b.Objects {
		if o.GetKind() != "RoleBinding" && o.GetKind() != "ClusterRoleBinding" {
			continue
		}
		binding := convert[rbacv1.RoleBinding](t, o)
		for _, s := range binding.Subjects {
			if s.Kind == rbacv1.ServiceAccountKind && strings.HasPrefix(s.Name, "meshvm-") && s.Namespace != b.CSV.Annotations["operatorframework.io/suggested-namespace"] {
				t.Errorf("%s %s: subject in %s, which is not the suggested namespace", o.GetKind(), o.GetName(), s.Namespace)
			}
		}
		if !strings.HasPrefix(binding.RoleRef.Name, "system:openshift:scc:") {
			continue
		}
		scc++
		if o.GetKind() != "RoleBinding" || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "meshvm-rule-writer" {
			t.Errorf("%s %s grants a SecurityContextConstraints to %+v", o.GetKind(), o.GetName(), binding.Subjects)
		}
	}
	if scc != 1 {
		t.Errorf("%d bindings to SecurityContextConstraints, want one for the rule-writer", scc)
	}
}

func convert[T any](t *testing.T, o *unstructured.Unstructured) T {
	t.Helper()
	var v T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
