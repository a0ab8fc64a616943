// SPDX-License-Identifier: Apache-2.0

package rulejob

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// terminated is the ending of the rule-writer's container, nil before.
func terminated(pod *corev1.Pod) *corev1.ContainerStateTerminated {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Name == ContainerName {
			return s.State.Terminated
		}
	}
	return nil
}

// disrupted reports whether the node or the control plane ended the pod before
// the rule-writer could report anything: the Job replaces it (Kubernetes, pod
// condition DisruptionTarget).
func disrupted(pod *corev1.Pod) bool {
	t := terminated(pod)
	return condition(pod, corev1.DisruptionTarget) == corev1.ConditionTrue && (t == nil || t.Message == "")
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return pod.Status.Conditions[i].Status
		}
	}
	return corev1.ConditionUnknown
}

// NodeReady reports whether the node can run a Job.
func NodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// ending is the condition with which the Job ended, or is about to: the
// conditions FailureTarget and SuccessCriteriaMet come first, while pods are
// still being deleted.
func ending(job *batchv1.Job) (batchv1.JobCondition, bool) {
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

// fromJob reads the ending of a Job whose pods report nothing. Nothing is proven
// then, so that another Job has to look again.
func fromJob(job *batchv1.Job, pods []corev1.Pod) (Outcome, bool) {
	c, ended := ending(job)
	if !ended {
		return Outcome{}, false
	}
	out := failure(c.LastTransitionTime, "the rule-writer failed without a result")
	switch {
	case c.Type == batchv1.JobComplete || c.Type == batchv1.JobSuccessCriteriaMet:
		out.Message = "the rule-writer's result was lost before it was read"
	case c.Reason == batchv1.JobReasonDeadlineExceeded:
		out.Message = "the rule-writer did not end in time"
	}
	if len(pods) > 0 {
		if obstacle := obstacleOf(&pods[0]); obstacle != "" {
			out.Message = obstacle
		}
	}
	return out, true
}

// obstacleOf describes what keeps a pod from running, or an empty string. The text
// has the kubelet's reason, which is stable, and not its message, which is not.
func obstacleOf(pod *corev1.Pod) string {
	switch {
	case condition(pod, corev1.DisruptionTarget) == corev1.ConditionTrue:
		return "the node ended the rule-writer before it was done"
	case pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "":
		return "the node did not take the rule-writer's pod: " + pod.Status.Reason
	case pod.Status.Reason == "NodeLost":
		return "the node does not answer"
	}
	for i := range pod.Status.ContainerStatuses {
		if w := pod.Status.ContainerStatuses[i].State.Waiting; w != nil {
			return waitingObstacle(w.Reason)
		}
	}
	return ""
}

// waitingObstacle maps the reasons for which a kubelet does not start a container
// (kubelet, pkg/kubelet/images and pkg/kubelet/container). Image pulls swing
// between two of them.
func waitingObstacle(reason string) string {
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return ""
	case "ErrImagePull", "ImagePullBackOff", "RegistryUnavailable":
		return "the node cannot pull the rule-writer's image"
	case "ErrImageNeverPull":
		return "the node lacks the rule-writer's image and may not pull it"
	case "InvalidImageName":
		return "the name of the rule-writer's image is not valid"
	default:
		return "the node cannot start the rule-writer: " + reason
	}
}
