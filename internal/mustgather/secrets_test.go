// SPDX-License-Identifier: Apache-2.0

package mustgather

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRedactSecrets checks that fields that can contain passwords are
// replaced at any depth and that other fields are unchanged.
func TestRedactSecrets(t *testing.T) {
	const left = "(omitted by must-gather)"
	type object = map[string]any
	for name, tc := range map[string]struct{ in, want object }{
		"cloud-init": {
			object{"volumes": []any{object{"cloudInitNoCloud": object{"userData": "x", "networkDataBase64": "x", "secretRef": "kept"}}}},
			object{"volumes": []any{object{"cloudInitNoCloud": object{"userData": left, "networkDataBase64": left, "secretRef": "kept"}}}},
		},
		"Ignition in a VMI or a pod": {
			object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": "x", "kubevirt.io/domain": "web"}}},
			object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": left, "kubevirt.io/domain": "web"}}},
		},
		"Ignition in a template": {
			object{"spec": object{"virtualMachine": object{"template": object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": "x"}}}}}},
			object{"spec": object{"virtualMachine": object{"template": object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": left}}}}}},
		},
		"last applied configuration of kubectl": {
			object{"metadata": object{"annotations": object{"kubectl.kubernetes.io/last-applied-configuration": "x"}}},
			object{"metadata": object{"annotations": object{}}},
		},
		"a field of this name that is not an object": {object{"annotations": "x"}, object{"annotations": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			redactSecrets(tc.in)
			if diff := cmp.Diff(tc.want, tc.in); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
