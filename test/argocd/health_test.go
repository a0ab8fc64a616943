// SPDX-License-Identifier: Apache-2.0

package argocd_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/argocd"
)

// TestHealth checks the health of each kind of status. test/integration compares the
// health of real objects with kstatus.
func TestHealth(t *testing.T) {
	for name, tc := range map[string]struct{ object, status, message string }{
		"not reconciled": {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: Unknown, reason: Pending, message: m}]}}`, "Progressing", "waiting for the operator"},
		"without status": {`{metadata: {generation: 1}}`, "Progressing", "waiting for the operator"},
		"older spec":     {`{metadata: {generation: 2}, status: {conditions: [{type: Ready, status: "True", reason: Ready, message: m, observedGeneration: 1}]}}`, "Progressing", "waiting for the operator"},
		"ready":          {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: "True", reason: Ready, message: m, observedGeneration: 1}]}}`, "Healthy", "m"},
		"stopped":        {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: "True", reason: Stopped, message: m, observedGeneration: 1}]}}`, "Suspended", "m"},
		"starting":       {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: "False", reason: Starting, message: m, observedGeneration: 1}, {type: Reconciling, status: "True"}]}}`, "Progressing", "m"},
		"stalled":        {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: "False", reason: Conflict, message: m, observedGeneration: 1}, {type: Stalled, status: "True"}]}}`, "Degraded", "m"},
		"paused guest":   {`{metadata: {generation: 1}, status: {conditions: [{type: Ready, status: "False", reason: Paused, message: m, observedGeneration: 1}]}}`, "Suspended", "m"},
		"deleted":        {`{metadata: {generation: 1, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {conditions: [{type: Ready, status: "False", reason: Terminating, message: m, observedGeneration: 1}]}}`, "Progressing", "m"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(tc.object), &o.Object); err != nil {
				t.Fatal(err)
			}
			status, message, err := argocd.Health(o)
			if err != nil || status != tc.status || message != tc.message {
				t.Errorf("health is %s (%s), error %v, want %s (%s)", status, message, err, tc.status, tc.message)
			}
		})
	}
}
