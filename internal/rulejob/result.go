// SPDX-License-Identifier: Apache-2.0

package rulejob

import (
	"cmp"
	"errors"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// State is the state of a Job.
type State string

const (
	// StateRunning means that the result is not known yet.
	StateRunning State = "Running"
	// StateSucceeded means that the target was handled and verified.
	StateSucceeded State = "Succeeded"
	// StateFailed means that this Job can no longer succeed.
	StateFailed State = "Failed"
)

// Result is the known result of a Job.
type Result struct {
	// State is the state of the Job.
	State State
	// Target is the rule-writer's result for the Job's only target, nil if it
	// reported none.
	Target *ruleio.TargetResult
	// Reason is the reason of the condition Programmed.
	Reason v1alpha1.ConditionReason
	// Message describes the problem, if any. It contains no names or numbers that
	// differ between attempts.
	Message string
	// Retryable is set for a failed Job if another Job can succeed.
	Retryable bool
	// TargetGone is set if the pod no longer exists on its node.
	TargetGone bool
	// FinishedAt is the time at which the rule-writer exited, or zero while it is
	// running.
	FinishedAt metav1.Time
}

// ResultFor returns the result of the Job for a request, from the Job and its
// pods. The termination message is evaluated as soon as the kubelet reports it,
// about two seconds before the Job is Complete. A Job succeeds only with a message
// that contains the digest of the request.
func ResultFor(job *batchv1.Job, pods []corev1.Pod, requestDigest string) Result {
	own := newestFirst(job, pods)
	for i := range own {
		if t := terminated(&own[i]); t != nil && !disrupted(&own[i]) {
			out := fromTermination(t, requestDigest)
			if out.State == StateFailed && out.Retryable && !exhausted(job, own) {
				out.State, out.Retryable, out.FinishedAt = StateRunning, false, metav1.Time{}
			}
			return out
		}
	}
	if out, finished := fromJob(job, own); finished {
		return out
	}
	out := Result{State: StateRunning, Reason: v1alpha1.ReasonProgramming}
	if len(own) > 0 {
		if obstacle := obstacleOf(&own[0]); obstacle != "" {
			out.Reason, out.Message = v1alpha1.ReasonWriteFailed, obstacle
		}
	}
	return out
}

// Outdated reports whether a Job ran with another image than the current one, or
// in an earlier boot of the node. Its failure then does not predict the result of
// another Job. An unknown boot ID is empty.
func Outdated(job *batchv1.Job, image, bootID string) bool {
	boot := job.Annotations[v1alpha1.AnnotationBootID]
	return boot != "" && bootID != "" && boot != bootID ||
		slices.ContainsFunc(job.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Image != image })
}

// newestFirst returns the pods of the Job, the newest first.
func newestFirst(job *batchv1.Job, pods []corev1.Pod) []corev1.Pod {
	var own []corev1.Pod
	for i := range pods {
		if job == nil || job.UID == "" || metav1.IsControlledBy(&pods[i], job) {
			own = append(own, pods[i])
		}
	}
	slices.SortStableFunc(own, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return own
}

// exhausted reports whether the Job does not create another pod.
func exhausted(job *batchv1.Job, pods []corev1.Pod) bool {
	if job == nil || job.Spec.BackoffLimit == nil {
		return true
	}
	if _, ended := endCondition(job); ended {
		return true
	}
	failed := int32(0)
	for i := range pods {
		t := terminated(&pods[i])
		switch {
		case t == nil || disrupted(&pods[i]):
		case t.ExitCode == int32(ruleio.ExitOK):
			// The Job is complete, even if the message is not accepted.
			return true
		default:
			failed++
		}
	}
	return failed > *job.Spec.BackoffLimit
}

const otherRequest = "the rule-writer reported the result of another request"

// fromTermination evaluates the termination message of the rule-writer.
func fromTermination(t *corev1.ContainerStateTerminated, requestDigest string) Result {
	result, err := ruleio.DecodeResult([]byte(t.Message))
	switch {
	case errors.Is(err, ruleio.ErrVersion):
		return failure(t.FinishedAt, "cannot read the result of the rule-writer: "+err.Error())
	case err != nil:
		return withoutMessage(t)
	case result.RequestDigest != requestDigest:
		return failure(t.FinishedAt, otherRequest)
	case len(result.Targets) != 1:
		out := failure(t.FinishedAt, cmp.Or(result.Message, "the result of the rule-writer does not contain the target"))
		if result.ExitCode() == ruleio.ExitTerminal {
			out.Reason, out.Retryable = v1alpha1.ReasonRequestRejected, false
		}
		return out
	default:
		out := fromTarget(result.Targets[0])
		out.Target, out.FinishedAt = &result.Targets[0], t.FinishedAt
		return out
	}
}

const targetGone = "no process of the pod runs on the node"

// fromTarget converts the outcome of a target to the reason and the message of the
// condition Programmed.
func fromTarget(target ruleio.TargetResult) Result {
	failed := func(reason v1alpha1.ConditionReason, message string) Result {
		return Result{
			State: StateFailed, Reason: reason, Message: cmp.Or(target.Message, message),
			Retryable: target.Outcome.ExitCode() == ruleio.ExitRetryable,
		}
	}
	switch target.Outcome {
	case ruleio.OutcomeApplied, ruleio.OutcomeRemoved:
		return Result{State: StateSucceeded, Reason: v1alpha1.ReasonProgrammed}
	case ruleio.OutcomeTargetGone:
		out := failed(v1alpha1.ReasonTargetGone, targetGone)
		out.TargetGone = true
		return out
	case ruleio.OutcomeIdentityMismatch:
		return failed(v1alpha1.ReasonIdentityMismatch, "the network namespace has none of the pod's addresses")
	case ruleio.OutcomeUnsupported:
		return failed(v1alpha1.ReasonKernelUnsupported, "the kernel of the node does not support the rules")
	case ruleio.OutcomeInvalid:
		return failed(v1alpha1.ReasonRequestRejected, "the rule-writer rejected the request")
	case ruleio.OutcomeMismatch:
		return failed(v1alpha1.ReasonReadBackMismatch, "the rules that were read back differ from the rules that were written")
	case ruleio.OutcomeFailed:
		return failed(v1alpha1.ReasonWriteFailed, "writing the rules failed")
	default:
		return failed(v1alpha1.ReasonWriteFailed, "the rule-writer reported an unknown outcome: use images of the same release for manager and rule-writer")
	}
}

// withoutMessage evaluates the exit code of a rule-writer without a readable
// termination message. Exit code 0 alone is not a success.
func withoutMessage(t *corev1.ContainerStateTerminated) Result {
	out := failure(t.FinishedAt, "the rule-writer exited without a result")
	switch ruleio.ExitCode(t.ExitCode) {
	case ruleio.ExitTerminal:
		out.Reason, out.Retryable = v1alpha1.ReasonRequestRejected, false
		out.Message = "the rule-writer rejected the request without a message"
	case ruleio.ExitTargetGone:
		out.Reason, out.Retryable, out.TargetGone = v1alpha1.ReasonTargetGone, false, true
		out.Message = targetGone
	case ruleio.ExitOK, ruleio.ExitRetryable:
	default:
		if t.Reason != "" && t.Reason != "Error" {
			out.Message += ": " + t.Reason
		}
	}
	return out
}

func failure(at metav1.Time, message string) Result {
	return Result{
		State: StateFailed, Reason: v1alpha1.ReasonWriteFailed, Message: message,
		Retryable: true, FinishedAt: at,
	}
}
