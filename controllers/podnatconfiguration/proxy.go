// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
)

// enrollmentLimit is the time after the creation of the pod's network namespace in
// which the operator expects istio-cni to enroll the pod. istio-cni enrolls a pod
// before the kubelet reports its namespace, and then annotates the pod (Istio,
// cni/pkg/nodeagent).
const enrollmentLimit = time.Minute

// ambient reports whether the pod was created for ambient mode.
func (s *scope) ambient() bool { return s.config.Spec.DataPlane == v1alpha1.DataPlaneAmbient }

// hasProxy reports whether a proxy accepts redirected connections: the sidecar, or
// ztunnel, whose sockets in the pod istio-cni's annotation reports.
func (s *scope) hasProxy() bool {
	if s.ambient() {
		return launcherpod.AmbientEnrolled(s.pod)
	}
	return launcherpod.HasSidecar(s.pod)
}

// proxyMissing reports whether a live launcher pod has no proxy.
func (s *scope) proxyMissing() bool {
	return s.invalid == nil && s.alive() && launcherpod.IsLauncher(s.pod) && !s.hasProxy()
}

// awaitEnrollment returns the remaining time to wait for istio-cni. It sets
// enrollmentOverdue if the time has elapsed.
func (s *scope) awaitEnrollment(now time.Time) time.Duration {
	if !s.ambient() || !s.proxyMissing() || !s.sandboxReady() {
		return 0
	}
	since := s.pod.CreationTimestamp
	if t := launcherpod.SandboxReadySince(s.pod); t != nil {
		since = *t
	}
	wait := since.Add(enrollmentLimit).Sub(now)
	s.enrollmentOverdue = wait <= 0
	return max(wait, 0)
}

// proxyCondition returns the condition TargetResolved of a pod without a proxy.
func (s *scope) proxyCondition() conditions.Condition {
	const t = v1alpha1.ConditionTargetResolved
	switch {
	case !s.ambient():
		return conditions.False(t, v1alpha1.ReasonProxyMissing,
			"the pod has no istio-proxy container: enable sidecar injection for the namespace and restart the guest")
	case s.pod.Annotations[v1alpha1.AnnotationAmbientRedirection] != "":
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled,
			"istio-cni has programmed its rules in the pod and is waiting for ztunnel: check that ztunnel runs on node "+s.pod.Spec.NodeName)
	case s.enrollmentOverdue:
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled,
			"istio-cni has not enrolled the pod in ambient mode: the annotation "+v1alpha1.AnnotationAmbientRedirection+" is missing; install istio-cni with ambient mode and ztunnel on node "+s.pod.Spec.NodeName+" and restart the guest, or set mesh.dataPlane to Sidecar")
	default:
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled, "waiting for istio-cni to enroll the pod in ambient mode")
	}
}
