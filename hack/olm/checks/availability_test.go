// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"os"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// TestManagersOnDifferentNodes checks that two managers run, on different nodes
// if possible, if a webhook without a response prevents guests from starting.
func TestManagersOnDifferentNodes(t *testing.T) {
	read := func(name string, into any) {
		t.Helper()
		raw, err := os.ReadFile("../../../config/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	var manager appsv1.Deployment
	read("manager/manager.yaml", &manager)
	var webhook admissionv1.MutatingWebhookConfiguration
	read("webhook/configuration.yaml", &webhook)
	if len(webhook.Webhooks) != 1 || *webhook.Webhooks[0].FailurePolicy != admissionv1.Fail {
		t.Fatal("the failure policy is not Fail: this test is not needed")
	}
	b := load(t)
	inBundle := b.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs
	if len(inBundle) != 1 {
		t.Fatalf("the bundle has %d deployments", len(inBundle))
	}
	for where, d := range map[string]*appsv1.DeploymentSpec{"config/manager": &manager.Spec, "the bundle": &inBundle[0].Spec} {
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
