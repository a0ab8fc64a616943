// SPDX-License-Identifier: Apache-2.0

package rulejob

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/internal/launcherpod"
)

// terminated returns the terminated state of the container of a Job, nil
// before it has terminated.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Name == ContainerName || s.Name == TracerContainerName {
			return s.State.Terminated
		}
	}
	return nil
}

// disrupted reports whether the node or the control plane terminated the pod
// before the rule-writer reported a result. The Job replaces such a pod
// (Kubernetes, pod condition DisruptionTarget).
func disrupted(pod *corev1.Pod) bool {
	t := terminated(pod)
	return isDisruptionTarget(pod) && (t == nil || t.Message == "")
}

func isDisruptionTarget(pod *corev1.Pod) bool {
	return launcherpod.Condition(pod, corev1.DisruptionTarget) == corev1.ConditionTrue
}

// NodeReady reports whether the node can run a Job.
func NodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// endCondition returns the condition that reports that the Job has ended or is
// about to end: FailureTarget and SuccessCriteriaMet are set while its pods are
// still being deleted.
func endCondition(job *batchv1.Job) (batchv1.JobCondition, bool) {
	if job == nil {
		return batchv1.JobCondition{}, false
	}
	for _, kind := range []batchv1.JobConditionType{
		batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet,
	} {
		for _, c := range job.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				return c, true
			}
		}
	}
	return batchv1.JobCondition{}, false
}

// fromJob evaluates the conditions of a Job whose pods report no result. Such a
// Job never succeeds, so that another Job verifies the rules.
func fromJob(job *batchv1.Job, pods []corev1.Pod) (Result, bool) {
	c, ended := endCondition(job)
	if !ended {
		return Result{}, false
	}
	out := failure(c.LastTransitionTime, "the rule-writer failed without a result")
	switch {
	case c.Type == batchv1.JobComplete || c.Type == batchv1.JobSuccessCriteriaMet:
		out.Message = "the pod of the rule-writer was deleted before its result was read"
	case c.Reason == batchv1.JobReasonDeadlineExceeded:
		out.Message = "the rule-writer exceeded its deadline"
	}
	if len(pods) > 0 {
		if obstacle := obstacleOf(&pods[0]); obstacle != "" {
			out.Message = obstacle
		}
	}
	return out, true
}

// obstacleOf describes why a pod cannot run, empty for no reason. The text may
// contain the kubelet's reason, which is stable, but not its message, which is
// not.
func obstacleOf(pod *corev1.Pod) string {
	switch {
	case isDisruptionTarget(pod):
		return "the node terminated the rule-writer before it reported a result"
	case pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "":
		return "the node rejected the pod of the rule-writer: " + pod.Status.Reason
	case pod.Status.Reason == "NodeLost":
		return "the node does not respond"
	}
	for i := range pod.Status.ContainerStatuses {
		if w := pod.Status.ContainerStatuses[i].State.Waiting; w != nil {
			return waitingObstacle(w.Reason)
		}
	}
	return ""
}

// waitingObstacle describes the reason for which a container waits (kubelet,
// pkg/kubelet/images and pkg/kubelet/container). All reasons of one problem have
// the same text: a failing pull alternates between ErrImagePull and
// ImagePullBackOff.
func waitingObstacle(reason string) string {
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return ""
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable":
		return "the node cannot pull the rule-writer's image"
	case "ErrImageNeverPull":
		return "the node does not have the rule-writer's image, and the pull policy is Never"
	case "InvalidImageName":
		return "the name of the rule-writer's image is invalid"
	default:
		return "the node cannot start the rule-writer: " + reason
	}
}
