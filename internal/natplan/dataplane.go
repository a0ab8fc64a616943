// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// setDataPlane sets the pod's data plane and the ports of its proxy. It omits
// Sidecar, which is the default.
func setDataPlane(spec *v1alpha1.PodNATConfigurationSpec, pod *corev1.Pod) {
	if launcherpod.DataPlane(pod) != v1alpha1.DataPlaneAmbient {
		return
	}
	spec.DataPlane = v1alpha1.DataPlaneAmbient
	spec.Proxy.LocalPorts = slices.Clone(validate.AmbientLocalPorts)
	if captured, err := strconv.ParseBool(pod.Annotations[v1alpha1.AnnotationAmbientDNSCapture]); err == nil && captured {
		spec.Proxy.DNSPort = validate.ProxyDNSPort
	}
}

// localPorts returns the proxy ports that a configuration has to contain.
func localPorts(d v1alpha1.DataPlane) []int32 {
	if d == v1alpha1.DataPlaneAmbient {
		return validate.AmbientLocalPorts
	}
	return validate.ProxyLocalPorts
}

// dataPlane omits the default, so that equivalent specs result in equal plans.
func dataPlane(d v1alpha1.DataPlane) ruleio.DataPlane {
	if d == v1alpha1.DataPlaneAmbient {
		return ruleio.DataPlaneAmbient
	}
	return ""
}
