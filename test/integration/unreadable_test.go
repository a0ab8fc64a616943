// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestUnreadableSpec stores specs whose values the schema permits and the Go types do not.
// Each object reports the reason, and the operator continues with the other objects, also
// after a restart, when it lists all objects.
func TestUnreadableSpec(t *testing.T) {
	s := start(t)
	s.converge(s.web())
	before := s.mvm("web")
	cases := map[string]setting{
		"cores":      {"virtualMachine.template.spec.domain.cpu", `{"cores":-1}`},
		"boot-order": {"virtualMachine.template.spec.domain.devices.disks", `[{"name":"a","disk":{},"bootOrder":-1}]`},
		"probe":      {"virtualMachine.template.spec.readinessProbe", `{"tcpSocket":{"port":99999999999}}`},
	}
	for name, bad := range cases {
		o := &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"name": name, "namespace": s.namespace},
			"spec":     map[string]any{},
		}}
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"))
		spec, _ := o.Object["spec"].(map[string]any)
		setting{"virtualMachine.template.spec.domain", `{"devices":{},"memory":{"guest":"256Mi"}}`}.set(spec)
		setting{"ports", `[{"name":"http","port":80}]`}.set(spec)
		bad.set(spec)
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatalf("%s: %v: a schema that refuses the value makes this case superfluous", bad, err)
		}
	}
	// A stored spec that was accepted can become unreadable.
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"virtualMachine":{"template":{"spec":{"domain":{"cpu":{"threads":-1}}}}}}}`))
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"))
	stored.SetNamespace(s.namespace)
	stored.SetName("web")
	if err := s.Patch(s.Context(), stored, patch); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for name := range cases {
			mvm := s.awaitMVM(name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
			c := meta.FindStatusCondition(mvm.Status.Conditions, string(v1alpha1.ConditionAccepted))
			if !strings.Contains(c.Message, "spec.virtualMachine: ") {
				t.Errorf("%s: the message does not name the field: %s", name, c.Message)
			}
		}
		s.awaitMVM("web", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	}
	check()
	s.restart()
	check()
	o := s.web()
	o.Name = "other"
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("other", want{v1alpha1.ConditionServiceReady, yes, ""})
	if after := s.mvm("web"); after.UID != before.UID || len(after.Status.Pods) != 1 {
		t.Errorf("the running guest of the unreadable spec is not reported any more: %+v", after.Status.Pods)
	}
}
