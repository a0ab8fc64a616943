// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// maxPatch is the size of the largest patch, in bytes.
const maxPatch = 16 * 1024

// patches rejects patches that the administrator does not permit, and patches without
// exactly one content. Their effect is checked when they are applied.
func (e *Errors) patches(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	if len(mvm.Spec.Patches) > 0 && cluster.Patches != configv1alpha1.Enabled {
		e.Reject(v1alpha1.ReasonPatchesDisabled, path, "tenancy.patches of the OperatorConfiguration does not permit patches: use the fields of the spec, or ask an administrator to set it to Enabled")
		return
	}
	for i, p := range mvm.Spec.Patches {
		at := path.Index(i)
		if (p.Merge != nil) == (len(p.JSON) > 0) {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "must set exactly one of merge and json: use a separate entry for each")
		}
		if raw, err := json.Marshal(p); err != nil || len(raw) > maxPatch {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "must be valid JSON of at most %d bytes: shorten the patch", maxPatch)
		}
	}
}
