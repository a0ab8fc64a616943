// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

// TestDefaults checks the values that the API server sets in an object and in its
// status.
func TestDefaults(t *testing.T) {
	env := shared.Get(t)
	u := object(t, meshedVirtualMachine, map[string]any{"metadata.name": "defaults"})
	if err := env.Client.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(u), u); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := unstructured.NestedString(u.Object, "spec", "version"); got != "v1" {
		t.Errorf("version %q, want v1", got)
	}
	if got, _, _ := unstructured.NestedString(u.Object, "spec", "start"); got != "AfterProgrammed" {
		t.Errorf("start %q, want AfterProgrammed", got)
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	if len(conditions) != 1 {
		t.Fatalf("conditions %v, want one", conditions)
	}
	ready := conditions[0].(map[string]any)
	if ready["type"] != "Ready" || ready["status"] != "Unknown" || ready["reason"] != "Pending" {
		t.Errorf("condition %v, want Ready=Unknown with reason Pending", ready)
	}
}

// TestManagerIsRestricted checks that the API server admits the manager's pod in a
// namespace that enforces the restricted Pod Security Standard.
func TestManagerIsRestricted(t *testing.T) {
	env := shared.Get(t)
	const restricted = "restricted"
	ns := &corev1.Namespace{}
	ns.Name = restricted
	ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": restricted}
	if err := env.Client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	var found bool
	for _, u := range documents(t, filepath.Join(testenv.Root(), "config/manager/manager.yaml")) {
		template, ok, err := unstructured.NestedMap(u.Object, "spec", "template")
		if err != nil || !ok {
			t.Fatalf("%s does not have a template: %v", u.GetKind(), err)
		}
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName("manager")
		pod.SetNamespace(restricted)
		if err := env.Client.Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Errorf("%s: %v", u.GetName(), err)
		}
		found = true
	}
	if !found {
		t.Error("no Deployment in config/manager")
	}
}
