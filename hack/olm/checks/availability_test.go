// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"os"
	"slices"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// read decodes a file below config/.
func read(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile("../../../config/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// managers returns the manager's Deployment of config/ and of the bundle. Tests in
// hack/helm compare the chart with config/.
func managers(t *testing.T) map[string]*appsv1.DeploymentSpec {
	t.Helper()
	var manager appsv1.Deployment
	read(t, "manager/manager.yaml", &manager)
	inBundle := load(t).CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs
	if len(inBundle) != 1 {
		t.Fatalf("the bundle has %d deployments", len(inBundle))
	}
	return map[string]*appsv1.DeploymentSpec{"config/manager": &manager.Spec, "the bundle": &inBundle[0].Spec}
}

// TestMemoryLimitOfManager checks that the manager knows the memory limit of its
// container. Otherwise, the kernel ends it although most of its heap is garbage.
func TestMemoryLimitOfManager(t *testing.T) {
	for where, d := range managers(t) {
		for _, c := range d.Template.Spec.Containers {
			if c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: container %s has no memory limit", where, c.Name)
			}
			if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
				return e.Name == "CONTAINER_MEMORY_LIMIT" && e.ValueFrom != nil && e.ValueFrom.ResourceFieldRef != nil &&
					e.ValueFrom.ResourceFieldRef.Resource == "limits.memory"
			}) {
				t.Errorf("%s: container %s does not have its memory limit in its environment", where, c.Name)
			}
		}
	}
}

// TestManagersOnDifferentNodes checks that two managers run, on different nodes
// if possible, if a webhook without a response prevents guests from starting.
func TestManagersOnDifferentNodes(t *testing.T) {
	var webhook admissionv1.MutatingWebhookConfiguration
	read(t, "webhook/configuration.yaml", &webhook)
	if len(webhook.Webhooks) != 1 || *webhook.Webhooks[0].FailurePolicy != admissionv1.Fail {
		t.Fatal("the failure policy is not Fail: this test is not needed")
	}
	for where, d := range managers(t) {
		if d.Replicas == nil || *d.Replicas < 2 {
			t.Errorf("%s: replicas is not two", where)
		}
		a := d.Template.Spec.Affinity
		if a == nil || a.PodAntiAffinity == nil || len(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
			t.Errorf("%s: no anti-affinity of the managers", where)
			continue
		}
		term := a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
		if term.TopologyKey != "kubernetes.io/hostname" {
			t.Errorf("%s: unexpected topology key %s of the anti-affinity", where, term.TopologyKey)
		}
		for k, v := range term.LabelSelector.MatchLabels {
			if d.Template.Labels[k] != v {
				t.Errorf("%s: label %s is %q, but the anti-affinity selects %q", where, k, d.Template.Labels[k], v)
			}
		}
	}
}
