// SPDX-License-Identifier: Apache-2.0

package startgate

import (
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// strayLabels are the labels that a pod has only while a MeshedVirtualMachine controls
// its guest. A label managed-by with another value belongs to the user.
var strayLabels = []string{v1alpha1.LabelManagedBy, v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, v1alpha1.LabelStartGate}

// Release returns the JSON patch (RFC 6902) that removes the labels of a
// MeshedVirtualMachine from the pod of a guest that it does not control, for example a
// clone. The operator writes no rules for such a pod, so a gate would never open, and
// Services and policies of the MeshedVirtualMachine must not select the pod.
func Release(pod *corev1.Pod) []jsonpatch.Operation {
	var ops []jsonpatch.Operation
	for _, label := range strayLabels {
		value, ok := pod.Labels[label]
		if label == v1alpha1.LabelManagedBy && value != v1alpha1.ManagedByValue {
			continue // It is the user's label.
		}
		if ok {
			ops = append(ops, jsonpatch.NewOperation("remove", "/metadata/labels/"+strings.ReplaceAll(label, "/", "~1"), nil))
		}
	}
	return ops
}
