// SPDX-License-Identifier: Apache-2.0

package mustgather

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLeaveOutSecrets: what may have passwords is replaced, at every depth, and
// the rest stays.
func TestLeaveOutSecrets(t *testing.T) {
	const left = "(left out by must-gather)"
	type object = map[string]any
	for name, tc := range map[string]struct{ in, want object }{
		"cloud-init": {
			object{"volumes": []any{object{"cloudInitNoCloud": object{"userData": "x", "networkDataBase64": "x", "secretRef": "kept"}}}},
			object{"volumes": []any{object{"cloudInitNoCloud": object{"userData": left, "networkDataBase64": left, "secretRef": "kept"}}}},
		},
		"Ignition, of a VMI or a pod": {
			object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": "x", "kubevirt.io/domain": "web"}}},
			object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": left, "kubevirt.io/domain": "web"}}},
		},
		"Ignition, of a template": {
			object{"spec": object{"virtualMachine": object{"template": object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": "x"}}}}}},
			object{"spec": object{"virtualMachine": object{"template": object{"metadata": object{"annotations": object{"kubevirt.io/ignitiondata": left}}}}}},
		},
		"what kubectl applied": {
			object{"metadata": object{"annotations": object{"kubectl.kubernetes.io/last-applied-configuration": "x"}}},
			object{"metadata": object{"annotations": object{}}},
		},
		"a field of that name that is no object": {object{"annotations": "x"}, object{"annotations": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			leaveOutSecrets(tc.in)
			if diff := cmp.Diff(tc.want, tc.in); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
