// SPDX-License-Identifier: Apache-2.0

package rulejob_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var (
	podEnd = metav1.NewTime(b.Epoch.Add(time.Second))
	jobEnd = metav1.NewTime(b.Epoch.Add(3 * time.Second))
)

func job(conditions ...batchv1.JobCondition) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "job-uid"},
		Spec:       batchv1.JobSpec{BackoffLimit: ptr.To[int32](0)},
		Status:     batchv1.JobStatus{Conditions: conditions},
	}
}

func retrying(j *batchv1.Job) *batchv1.Job {
	j.Spec.BackoffLimit = ptr.To[int32](1)
	return j
}

func ended(kind batchv1.JobConditionType, reason string) batchv1.JobCondition {
	return batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: jobEnd}
}

func writer(age int, change func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:              "j-abcde",
			CreationTimestamp: metav1.NewTime(b.Epoch.Add(time.Duration(age) * time.Minute)),
			OwnerReferences:   []metav1.OwnerReference{{UID: "job-uid", Controller: new(true)}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	change(&p)
	return p
}

func exit(code ruleio.ExitCode, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "other"}, {
			Name: rulejob.ContainerName,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: int32(code), //nolint:gosec // An exit status.
				Reason:   reason, Message: message, FinishedAt: podEnd,
			}},
		}}
	}
}

func waiting(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: rulejob.ContainerName, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "back-off 10s in pod j-abcde"}},
		}}
	}
}

func rejectedByNode(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, reason }
}

func disruption(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
}

// message returns the termination message for one target with the outcome.
func message(t *testing.T, o ruleio.Outcome, message string) string {
	t.Helper()
	return result(t, ruleio.Result{
		Version: ruleio.ResultVersion, RequestDigest: digest,
		Targets: []ruleio.TargetResult{{PodUID: "pod-uid", Outcome: o, Message: message}},
	})
}

func result(t *testing.T, r ruleio.Result) string {
	t.Helper()
	m, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// brief contains the fields of a Result that the table compares.
type brief struct {
	State           rulejob.State
	Reason          v1alpha1.ConditionReason
	Message         string
	Retryable, Gone bool
	Proven          bool
	FinishedAt      metav1.Time
}

func TestResultFor(t *testing.T) {
	const running, succeeded, failed = rulejob.StateRunning, rulejob.StateSucceeded, rulejob.StateFailed
	foreign := writer(5, exit(ruleio.ExitOK, "Completed", message(t, ruleio.OutcomeApplied, "")))
	foreign.OwnerReferences[0].UID = "another-job"
	for name, tc := range map[string]struct {
		job  *batchv1.Job
		pods []corev1.Pod
		want brief
	}{
		"no pod yet": {job: job(), want: brief{State: running, Reason: "Programming"}},
		"no status":  {want: brief{State: running, Reason: "Programming"}},
		"starting":   {job: job(), pods: []corev1.Pod{writer(0, waiting("ContainerCreating"))}, want: brief{State: running, Reason: "Programming"}},
		"pod of another Job": {
			job: job(), pods: []corev1.Pod{foreign}, want: brief{State: running, Reason: "Programming"},
		},

		"applied, before the Job is complete": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitOK, "Completed", message(t, ruleio.OutcomeApplied, "")))},
			want: brief{State: succeeded, Reason: "Programmed", Proven: true, FinishedAt: podEnd},
		},
		"removed": {
			job:  job(ended(batchv1.JobComplete, "")),
			pods: []corev1.Pod{writer(0, exit(ruleio.ExitOK, "Completed", message(t, ruleio.OutcomeRemoved, "")))},
			want: brief{State: succeeded, Reason: "Programmed", Proven: true, FinishedAt: podEnd},
		},
		"no process of the target": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitTargetGone, "Error", message(t, ruleio.OutcomeTargetGone, "")))},
			want: brief{State: failed, Reason: "TargetGone", Message: "no process of the pod runs on the node", Gone: true, Proven: true, FinishedAt: podEnd},
		},
		"old kernel": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitTerminal, "Error", message(t, ruleio.OutcomeUnsupported, "Linux 5.2 or later is needed")))},
			want: brief{State: failed, Reason: "KernelUnsupported", Message: "Linux 5.2 or later is needed", Proven: true, FinishedAt: podEnd},
		},
		"rejected": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitTerminal, "Error", message(t, ruleio.OutcomeInvalid, "")))},
			want: brief{State: failed, Reason: "RequestRejected", Message: "the rule-writer rejected the request", Proven: true, FinishedAt: podEnd},
		},
		"identity": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeIdentityMismatch, "")))},
			want: brief{State: failed, Reason: "IdentityMismatch", Message: "the network namespace has none of the pod's addresses", Retryable: true, Proven: true, FinishedAt: podEnd},
		},
		"read-back": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeMismatch, "")))},
			want: brief{State: failed, Reason: "ReadBackMismatch", Message: "the rules that were read back differ from the rules that were written", Retryable: true, Proven: true, FinishedAt: podEnd},
		},
		"write failed": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeFailed, "netlink: busy")))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "netlink: busy", Retryable: true, Proven: true, FinishedAt: podEnd},
		},
		"outcome of a newer version": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, "Postponed", "")))},
			want: brief{
				State: failed, Reason: "WriteFailed", Retryable: true, Proven: true, FinishedAt: podEnd,
				Message: "the rule-writer reported an unknown outcome: use images of the same release for manager and rule-writer",
			},
		},
		"write failed, the Job retries": {
			job: retrying(job()), pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeFailed, "netlink: busy")))},
			want: brief{State: running, Reason: "WriteFailed", Message: "netlink: busy", Proven: true},
		},
		"write failed, the Job has failed": {
			job:  retrying(job(ended(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded))),
			pods: []corev1.Pod{writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeFailed, "netlink: busy")))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "netlink: busy", Retryable: true, Proven: true, FinishedAt: podEnd},
		},
		"failed, then applied": {
			job: retrying(job()),
			pods: []corev1.Pod{
				writer(0, exit(ruleio.ExitRetryable, "Error", message(t, ruleio.OutcomeFailed, "netlink: busy"))),
				writer(1, exit(ruleio.ExitOK, "Completed", message(t, ruleio.OutcomeApplied, ""))),
			},
			want: brief{State: succeeded, Reason: "Programmed", Proven: true, FinishedAt: podEnd},
		},
		"result in an unknown format": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitOK, "Completed", `{"version":"meshvm.io/rule-result/v2"}`))},
			want: brief{
				State: failed, Reason: "WriteFailed", Retryable: true, FinishedAt: podEnd,
				Message: `cannot read the result of the rule-writer: invalid result: the format is not known: version "meshvm.io/rule-result/v2" is newer than meshvm.io/rule-result/v1: manager and rule-writer are more than one release apart; use images of the same release`,
			},
		},
		"no target, request of another version": {
			job: job(),
			pods: []corev1.Pod{writer(0, exit(ruleio.ExitTerminal, "Error", result(t, ruleio.Result{
				Version: ruleio.ResultVersion, RequestDigest: digest, Message: "this rule-writer reads another version",
			})))},
			want: brief{State: failed, Reason: "RequestRejected", Message: "this rule-writer reads another version", FinishedAt: podEnd},
		},

		"result of another request": {
			job: job(),
			pods: []corev1.Pod{writer(0, exit(ruleio.ExitOK, "Completed", result(t, ruleio.Result{
				Version: ruleio.ResultVersion, RequestDigest: "another",
				Targets: []ruleio.TargetResult{{PodUID: "pod-uid", Outcome: ruleio.OutcomeApplied}},
			})))},
			want: brief{
				State: failed, Reason: "WriteFailed", Retryable: true, FinishedAt: podEnd,
				Message: "the rule-writer reported the result of another request",
			},
		},
		"exit code 0 without a message": {
			job: job(ended(batchv1.JobComplete, "")), pods: []corev1.Pod{writer(0, exit(ruleio.ExitOK, "Completed", ""))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "the rule-writer exited without a result", Retryable: true, FinishedAt: podEnd},
		},
		"killed": {
			job: job(), pods: []corev1.Pod{writer(0, exit(137, "OOMKilled", ""))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "the rule-writer exited without a result: OOMKilled", Retryable: true, FinishedAt: podEnd},
		},
		"crashed": {
			job: job(), pods: []corev1.Pod{writer(0, exit(2, "Error", "panic: at 0x1234"))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "the rule-writer exited without a result", Retryable: true, FinishedAt: podEnd},
		},
		"terminal exit code without a message": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitTerminal, "Error", ""))},
			want: brief{State: failed, Reason: "RequestRejected", Message: "the rule-writer rejected the request without a message", FinishedAt: podEnd},
		},
		"exit code for a missing pod without a message": {
			job: job(), pods: []corev1.Pod{writer(0, exit(ruleio.ExitTargetGone, "Error", ""))},
			want: brief{State: failed, Reason: "TargetGone", Message: "no process of the pod runs on the node", Gone: true, FinishedAt: podEnd},
		},

		"image cannot be pulled": {
			job: job(), pods: []corev1.Pod{writer(0, waiting("ImagePullBackOff"))},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node cannot pull the rule-writer's image"},
		},
		"image may not be pulled": {
			job: job(), pods: []corev1.Pod{writer(0, waiting("ErrImageNeverPull"))},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node does not have the rule-writer's image, and the pull policy is Never"},
		},
		"image has an invalid name": {
			job: job(), pods: []corev1.Pod{writer(0, waiting("InvalidImageName"))},
			want: brief{State: running, Reason: "WriteFailed", Message: "the name of the rule-writer's image is invalid"},
		},
		"container cannot be created": {
			job: job(), pods: []corev1.Pod{writer(0, waiting("CreateContainerError"))},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node cannot start the rule-writer: CreateContainerError"},
		},
		"node full": {
			job: job(), pods: []corev1.Pod{writer(0, rejectedByNode("OutOfpods"))},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node rejected the pod of the rule-writer: OutOfpods"},
		},
		"node full, the Job has failed": {
			job: job(ended(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)), pods: []corev1.Pod{writer(0, rejectedByNode("OutOfpods"))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "the node rejected the pod of the rule-writer: OutOfpods", Retryable: true, FinishedAt: jobEnd},
		},
		"node does not respond": {
			job: job(), pods: []corev1.Pod{writer(0, func(p *corev1.Pod) { p.Status.Reason = "NodeLost" })},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node does not respond"},
		},
		"evicted": {
			job: job(), pods: []corev1.Pod{writer(0, func(p *corev1.Pod) { exit(137, "Error", "")(p); disruption(p) })},
			want: brief{State: running, Reason: "WriteFailed", Message: "the node terminated the rule-writer before it reported a result"},
		},
		"evicted after the result": {
			job: job(), pods: []corev1.Pod{writer(0, func(p *corev1.Pod) {
				exit(ruleio.ExitOK, "Completed", message(t, ruleio.OutcomeApplied, ""))(p)
				disruption(p)
			})},
			want: brief{State: succeeded, Reason: "Programmed", Proven: true, FinishedAt: podEnd},
		},

		"deadline, pod deleted": {
			job:  job(ended(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded)),
			want: brief{State: failed, Reason: "WriteFailed", Message: "the rule-writer exceeded its deadline", Retryable: true, FinishedAt: jobEnd},
		},
		"deadline while pulling": {
			job: job(ended(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded)), pods: []corev1.Pod{writer(0, waiting("ErrImagePull"))},
			want: brief{State: failed, Reason: "WriteFailed", Message: "the node cannot pull the rule-writer's image", Retryable: true, FinishedAt: jobEnd},
		},
		"failed, pod deleted": {
			job:  job(ended(batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy)),
			want: brief{State: failed, Reason: "WriteFailed", Message: "the rule-writer failed without a result", Retryable: true, FinishedAt: jobEnd},
		},
		"complete, pod deleted": {
			job:  job(ended(batchv1.JobComplete, "")),
			want: brief{State: failed, Reason: "WriteFailed", Message: "the pod of the rule-writer was deleted before its result was read", Retryable: true, FinishedAt: jobEnd},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := rulejob.ResultFor(tc.job, tc.pods, digest)
			got := brief{
				State: out.State, Reason: out.Reason, Message: out.Message, Retryable: out.Retryable,
				Gone: out.TargetGone, Proven: out.Target != nil, FinishedAt: out.FinishedAt,
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if (out.State == rulejob.StateRunning) != out.FinishedAt.IsZero() {
				t.Errorf("state %s with end %v", out.State, out.FinishedAt)
			}
		})
	}
}

func TestOutdated(t *testing.T) {
	j := func(boot string) *batchv1.Job {
		out := job()
		out.Annotations = map[string]string{v1alpha1.AnnotationBootID: boot}
		out.Spec.Template.Spec.Containers = []corev1.Container{{Name: rulejob.ContainerName, Image: "writer:1"}}
		return out
	}
	for name, tc := range map[string]struct {
		job         *batchv1.Job
		image, boot string
		want        bool
	}{
		"same image and boot": {j("a"), "writer:1", "a", false},
		"another image":       {j("a"), "writer:2", "a", true},
		"another boot":        {j("a"), "writer:1", "b", true},
		"an unknown boot":     {j(""), "writer:1", "b", false},
		"a node that is gone": {j("a"), "writer:1", "", false},
	} {
		if got := rulejob.Outdated(tc.job, tc.image, tc.boot); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
