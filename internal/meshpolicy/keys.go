// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"maps"
	"slices"

	"meshvm.io/meshvm/api/v1alpha1"
)

// everything is the key of policies that apply to all workloads. It is not a label.
const everything = "*"

// SelectorKey returns the key of a policy in an index of policies by their selectors:
// one of the labels that it selects. Of several labels, it is the operator's, because
// no two guests of a namespace share it.
func SelectorKey(selector map[string]string) string {
	if len(selector) == 0 {
		return everything
	}
	key := slices.Min(slices.Collect(maps.Keys(selector)))
	if _, ok := selector[v1alpha1.LabelMeshedVirtualMachine]; ok {
		key = v1alpha1.LabelMeshedVirtualMachine
	}
	return key + "=" + selector[key]
}

// SelectorKeys returns the keys of all policies that can select one of the workloads
// with the labels.
func SelectorKeys(workloads ...map[string]string) []string {
	keys := map[string]bool{everything: true}
	for _, labels := range workloads {
		for key, value := range labels {
			keys[key+"="+value] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}
