// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTelemetry configures an access log, reverts a change of another client, reports a
// newer Telemetry that overrides it, and removes the field.
func TestTelemetry(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Mesh.Telemetry.AccessLogging = v1alpha1.AccessLogging{{Providers: []*telemetryv1alpha1.ProviderRef{{Name: "envoy"}}}}
	s.converge(o)
	logs := []any{map[string]any{"providers": []any{map[string]any{"name": "envoy"}}}}
	s.fieldIs(children.TelemetryKind, "web", logs, "accessLogging")
	s.fieldIs(children.TelemetryKind, "web", map[string]any{v1alpha1.LabelMeshedVirtualMachine: "web"}, "selector", "matchLabels")
	s.awaitPolicy(effective, readyAgain, "")

	before, err := s.read(children.TelemetryKind, "web")
	if err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	off := []any{map[string]any{"disableSpanReporting": true}}
	if err := errors.Join(unstructured.SetNestedSlice(after.Object, off, "spec", "tracing"), s.Patch(s.Context(), after, client.MergeFrom(before))); err != nil {
		t.Fatal(err)
	}
	s.fieldIs(children.TelemetryKind, "web", nil, "tracing")

	// Of two objects of one second, the one with the later name has precedence.
	other := s.istioObject(children.TelemetryKind, s.namespace, "web-other", map[string]any{
		"selector":      map[string]any{"matchLabels": map[string]any{v1alpha1.LabelMeshedVirtualMachine: "web"}},
		"accessLogging": []any{map[string]any{"disabled": true}},
	})
	s.awaitPolicy(shadowed, notReady, "Telemetry "+s.namespace+"/web-other selects pod")
	if err := s.Delete(s.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(effective, readyAgain, "")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Telemetry = v1alpha1.TelemetrySpec{} })
	s.gone(children.TelemetryKind, "web")
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
}
