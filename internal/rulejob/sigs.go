// Package rulejob builds the Job that runs the rule-writer on a pod's node and
// reads how it ended. It is pure.
package rulejob

import (
	"errors"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// Config is what an installation decides about rule-writer Jobs.
type Config struct {
	// Namespace is the operator's own namespace.
	Namespace string
	// Image is the rule-writer's image.
	Image string
	// ServiceAccount runs the rule-writer; it has no rights in the API.
	ServiceAccount string
	// ImagePullPolicy is empty for the API server's default.
	ImagePullPolicy corev1.PullPolicy
	// ImagePullSecrets name secrets in Namespace.
	ImagePullSecrets []string
	// PriorityClassName is DefaultPriorityClassName when empty.
	PriorityClassName string
}

// State says how far a Job is.
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
	// State says how far the Job is.
	State State
	// Result is what the rule-writer said, nil when it said nothing.
	Result *ruleio.Result
	// Target is the entry of Result for the Job's only target.
	Target *ruleio.TargetResult
	// Reason is the reason for the condition Programmed.
	Reason v1alpha1.ConditionReason
	// Message is for people; it holds no names or numbers that change from
	// one attempt to the next.
	Message string
	// Retryable says of a failed Job that another one may succeed.
	Retryable bool
	// TargetGone says that the pod is gone from its node.
	TargetGone bool
	// FinishedAt is when the rule-writer ended, zero while it runs.
	FinishedAt metav1.Time
}

// JobName is the name of the Job for one request of one PodNATConfiguration.
func JobName(_ *v1alpha1.PodNATConfiguration, requestDigest string) string { return requestDigest }

// Build makes the Job that carries out req on the node.
func Build(_ Config, _ *v1alpha1.PodNATConfiguration, _ string, _ ruleio.Request) (*batchv1.Job, error) {
	return nil, errors.New("not written yet")
}

// ReadOutcome says how the Job ended, from the Job and its pods.
func ReadOutcome(_ *batchv1.Job, _ []corev1.Pod, _ string) Outcome {
	return Outcome{State: StateRunning, Reason: v1alpha1.ReasonProgramming}
}
