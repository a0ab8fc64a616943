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

// State describes how far a Job is.
type State string

const (
	// StateRunning means that no ending is known yet.
	StateRunning State = "Running"
	// StateSucceeded means that the target was handled and proven.
	StateSucceeded State = "Succeeded"
	// StateFailed means that this Job will not succeed any more.
	StateFailed State = "Failed"
)

// Outcome is what is known of the ending of a Job.
type Outcome struct {
	// State describes how far the Job is.
	State State
	// Result is what the rule-writer reported, nil when it reported nothing.
	Result *ruleio.Result
	// Target is the entry of Result for the Job's only target.
	Target *ruleio.TargetResult
	// Reason is the reason for the condition Programmed.
	Reason v1alpha1.ConditionReason
	// Message is for people; it holds no names or numbers that change from
	// one attempt to the next. It is empty while all goes well.
	Message string
	// Retryable reports about a failed Job that another one may succeed.
	Retryable bool
	// TargetGone reports that the pod is gone from its node.
	TargetGone bool
	// FinishedAt is when the rule-writer ended, zero while it runs.
	FinishedAt metav1.Time
}

// ReadOutcome describes how the Job ended, from the Job and its pods. The
// termination message counts as soon as the kubelet reports it, which is about
// two seconds before the Job is Complete. Without a message that answers this
// very request nothing is taken for done.
func ReadOutcome(job *batchv1.Job, pods []corev1.Pod, requestDigest string) Outcome {
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
	out := Outcome{State: StateRunning, Reason: v1alpha1.ReasonProgramming}
	if len(own) > 0 {
		if obstacle := obstacleOf(&own[0]); obstacle != "" {
			out.Reason, out.Message = v1alpha1.ReasonWriteFailed, obstacle
		}
	}
	return out
}

// Outdated reports whether a Job ran another image than would run now, or in another
// boot of the node, so that a failure of it is no verdict on these. bootID is
// empty if it is not known.
func Outdated(job *batchv1.Job, image, bootID string) bool {
	boot := job.Annotations[v1alpha1.AnnotationBootID]
	return boot != "" && bootID != "" && boot != bootID ||
		slices.ContainsFunc(job.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Image != image })
}

// newestFirst are the pods of the Job.
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

// exhausted reports whether the Job makes no further pod after those that failed.
func exhausted(job *batchv1.Job, pods []corev1.Pod) bool {
	if job == nil || job.Spec.BackoffLimit == nil {
		return true
	}
	if _, ended := ending(job); ended {
		return true
	}
	failed := int32(0)
	for i := range pods {
		t := terminated(&pods[i])
		switch {
		case t == nil || disrupted(&pods[i]):
		case t.ExitCode == int32(ruleio.ExitOK):
			// To the Job this is its completion, whatever we make of it.
			return true
		default:
			failed++
		}
	}
	return failed > *job.Spec.BackoffLimit
}

// fromTermination reads the termination message of the rule-writer.
func fromTermination(t *corev1.ContainerStateTerminated, requestDigest string) Outcome {
	result, err := ruleio.DecodeResult([]byte(t.Message))
	switch {
	case errors.Is(err, ruleio.ErrVersion):
		return failure(t.FinishedAt, "the rule-writer's answer was not understood: "+err.Error())
	case err != nil:
		return withoutResult(t)
	case result.RequestDigest != requestDigest:
		return failure(t.FinishedAt, "the rule-writer answered another request than the one it was given")
	case len(result.Targets) != 1:
		out := failure(t.FinishedAt, cmp.Or(result.Message, "the rule-writer reported no target"))
		out.Result = &result
		if result.ExitCode() == ruleio.ExitTerminal {
			out.Reason, out.Retryable = v1alpha1.ReasonRequestRefused, false
		}
		return out
	default:
		out := fromTarget(result.Targets[0])
		out.Result, out.Target, out.FinishedAt = &result, &result.Targets[0], t.FinishedAt
		return out
	}
}

// fromTarget describes what the ending of the target means for the condition
// Programmed.
func fromTarget(target ruleio.TargetResult) Outcome {
	failed := func(reason v1alpha1.ConditionReason, message string) Outcome {
		return Outcome{
			State: StateFailed, Reason: reason, Message: cmp.Or(target.Message, message),
			Retryable: target.Outcome.ExitCode() == ruleio.ExitRetryable,
		}
	}
	switch target.Outcome {
	case ruleio.OutcomeApplied, ruleio.OutcomeRemoved:
		return Outcome{State: StateSucceeded, Reason: v1alpha1.ReasonProgrammed}
	case ruleio.OutcomeTargetGone:
		out := failed(v1alpha1.ReasonTargetGone, "the node has no process of the pod")
		out.TargetGone = true
		return out
	case ruleio.OutcomeIdentityMismatch:
		return failed(v1alpha1.ReasonIdentityMismatch, "the network namespace found has none of the pod's addresses")
	case ruleio.OutcomeUnsupported:
		return failed(v1alpha1.ReasonKernelUnsupported, "the node's kernel cannot hold the rules")
	case ruleio.OutcomeInvalid:
		return failed(v1alpha1.ReasonRequestRefused, "the rule-writer refused the request")
	case ruleio.OutcomeMismatch:
		return failed(v1alpha1.ReasonReadBackMismatch, "what was read back is not what was written")
	case ruleio.OutcomeFailed:
		return failed(v1alpha1.ReasonWriteFailed, "writing the rules failed")
	default:
		return failed(v1alpha1.ReasonWriteFailed, "the rule-writer reported an ending that this version of the operator does not know")
	}
}

// withoutResult goes by the exit code alone. Exit code 0 proves nothing.
func withoutResult(t *corev1.ContainerStateTerminated) Outcome {
	out := failure(t.FinishedAt, "the rule-writer ended without a result")
	switch ruleio.ExitCode(t.ExitCode) {
	case ruleio.ExitTerminal:
		out.Reason, out.Retryable = v1alpha1.ReasonRequestRefused, false
		out.Message = "the rule-writer refused the request without saying why"
	case ruleio.ExitTargetGone:
		out.Reason, out.Retryable, out.TargetGone = v1alpha1.ReasonTargetGone, false, true
		out.Message = "the node has no process of the pod"
	case ruleio.ExitOK, ruleio.ExitRetryable:
	default:
		if t.Reason != "" && t.Reason != "Error" {
			out.Message += ": " + t.Reason
		}
	}
	return out
}

func failure(at metav1.Time, message string) Outcome {
	return Outcome{
		State: StateFailed, Reason: v1alpha1.ReasonWriteFailed, Message: message,
		Retryable: true, FinishedAt: at,
	}
}
