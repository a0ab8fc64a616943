// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
)

// enrolmentLimit is how long after the pod's network namespace was there the
// operator still expects istio-cni to enrol the pod. It enrols it before the
// kubelet is told that the namespace is there (Istio, cni/pkg/nodeagent), and
// says so on the pod at once.
const enrolmentLimit = time.Minute

// ambient says whether the pod was made for ambient mode.
func (s *scope) ambient() bool { return s.config.Spec.DataPlane == v1alpha1.DataPlaneAmbient }

// hasProxy says whether there is somebody to take the connections that are
// redirected: the sidecar, or ztunnel. That ztunnel has its sockets in the pod
// is what istio-cni's annotation says.
func (s *scope) hasProxy() bool {
	if s.ambient() {
		return launcherpod.AmbientEnrolled(s.pod)
	}
	return launcherpod.HasSidecar(s.pod)
}

// proxyMissing says whether a living launcher pod has no proxy.
func (s *scope) proxyMissing() bool {
	return s.invalid == nil && s.alive() && launcherpod.IsLauncher(s.pod) && !s.hasProxy()
}

// awaitEnrolment is how long to wait for istio-cni. When that is over it notes
// that nothing more is expected.
func (s *scope) awaitEnrolment(now time.Time) time.Duration {
	if !s.ambient() || !s.proxyMissing() || !s.sandboxReady() {
		return 0
	}
	since := s.pod.CreationTimestamp
	if t := launcherpod.SandboxReadySince(s.pod); t != nil {
		since = *t
	}
	wait := since.Add(enrolmentLimit).Sub(now)
	s.enrolmentOverdue = wait <= 0
	return max(wait, 0)
}

// proxyCondition says what the pod lacks that has no proxy.
func (s *scope) proxyCondition() conditions.Condition {
	const t = v1alpha1.ConditionTargetResolved
	switch {
	case !s.ambient():
		return conditions.False(t, v1alpha1.ReasonProxyMissing,
			"the pod has no container istio-proxy, so that redirected connections would end nowhere: see to it that Istio's injector handles this namespace, then restart the guest")
	case s.pod.Annotations[v1alpha1.AnnotationAmbientRedirection] != "":
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled,
			"istio-cni has written its rules into the pod and waits for ztunnel: see to it that ztunnel runs on node "+s.pod.Spec.NodeName)
	case s.enrolmentOverdue:
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled,
			"istio-cni has not enrolled the pod in ambient mode, the annotation "+v1alpha1.AnnotationAmbientRedirection+" is missing: install istio-cni with ambient mode and ztunnel on node "+s.pod.Spec.NodeName+" and restart the guest, or set mesh.dataPlane to Sidecar")
	default:
		return conditions.False(t, v1alpha1.ReasonAmbientNotEnrolled, "waiting for istio-cni to enrol the pod in ambient mode")
	}
}
