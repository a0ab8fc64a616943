// SPDX-License-Identifier: Apache-2.0

package startgate

import (
	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Account returns the JSON patch (RFC 6902) that sets the service account of a pod whose
// annotation names one. The API server has already set the service account default. After
// the patch, it checks that the named one exists (Kubernetes,
// plugin/pkg/admission/serviceaccount, Validate). Projected tokens follow the service
// account of the pod, so the one of Istio's proxy does too. The field serviceAccount is an
// alias that must have the same value.
func Account(pod *corev1.Pod) []jsonpatch.Operation {
	name := pod.Annotations[v1alpha1.AnnotationServiceAccount]
	if name == "" || pod.Spec.ServiceAccountName == name {
		return nil
	}
	return []jsonpatch.Operation{
		jsonpatch.NewOperation("add", "/spec/serviceAccountName", name),
		jsonpatch.NewOperation("add", "/spec/serviceAccount", name),
	}
}
