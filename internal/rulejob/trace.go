// SPDX-License-Identifier: Apache-2.0

package rulejob

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/flowio"
)

const (
	// TracerContainerName is the name of the tracer's container.
	TracerContainerName = "tracer"
	// traceDelay is the time in seconds that a Job has in addition to the duration
	// of its trace, for example to pull the image.
	traceDelay = 120
	// traceTTL is resultTTL of the Job of a trace, in seconds.
	traceTTL = 600
	// traceGracePeriod is the termination grace period in seconds, in which the
	// tracer removes its table. The kernel removes it otherwise.
	traceGracePeriod = 5
)

// TraceLabels returns labels that select the Jobs of the ConnectionTraces of a
// namespace and their pods.
func TraceLabels(namespace string) map[string]string {
	return map[string]string{v1alpha1.LabelTraceNamespace: namespace}
}

// TracedPodLabels returns labels that select the Jobs that trace a pod and their pods.
func TracedPodLabels(pod types.UID) map[string]string {
	return map[string]string{v1alpha1.LabelTracedPod: string(pod)}
}

// TraceJobName returns the name of the Job that traces a pod. The name contains the UID
// of the pod, so that the API server accepts only one such Job.
func TraceJobName(pod types.UID) string { return "trace-" + string(pod) }

// BuildTrace returns the Job that traces connections in the pod of the request.
func BuildTrace(cfg Config, t *v1alpha1.ConnectionTrace, node string, r flowio.Request) (*batchv1.Job, error) {
	switch {
	case t == nil || t.UID == "":
		return nil, errors.New("build trace job: the ConnectionTrace has no UID")
	case node == "" || cfg.TracerImage == "" || cfg.Namespace == "":
		return nil, errors.New("build trace job: node, image and namespace are required")
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("build trace job: %w", err)
	}
	if _, err := flowio.DecodeRequest(encoded); err != nil {
		return nil, fmt.Errorf("build trace job: %w", err)
	}
	labels := map[string]string{
		labelName:                    appName,
		v1alpha1.LabelManagedBy:      v1alpha1.ManagedByValue,
		v1alpha1.LabelTraceNamespace: t.Namespace,
		v1alpha1.LabelTracedPod:      r.PodUID,
	}
	annotations := map[string]string{
		v1alpha1.AnnotationTrace:    t.Namespace + "/" + t.Name,
		v1alpha1.AnnotationTraceUID: string(t.UID),
	}
	job := jobOf(cfg, TraceJobName(types.UID(r.PodUID)), node, labels, annotations, string(encoded))
	job.Spec.ActiveDeadlineSeconds = new(r.DurationMilliseconds/1000 + traceDelay)
	job.Spec.TTLSecondsAfterFinished = ptr.To[int32](traceTTL)
	// A trace is not repeated.
	job.Spec.PodFailurePolicy = nil
	asTracer(cfg, &job.Spec.Template.Spec)
	return job, nil
}

// asTracer changes the pod of a rule-writer to that of a tracer. Its priority is that
// of other pods, because a user can request it and it must not evict them.
func asTracer(cfg Config, spec *corev1.PodSpec) {
	spec.PriorityClassName = ""
	spec.TerminationGracePeriodSeconds = ptr.To[int64](traceGracePeriod)
	c := &spec.Containers[0]
	c.Name, c.Image = TracerContainerName, cfg.TracerImage
	c.Args = []string{"-request", RequestDir + "/" + RequestFile, "-result", corev1.TerminationMessagePathDefault}
	c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse("128Mi")
}

// IsTraceOf reports whether a Job or pod belongs to the ConnectionTrace with this
// namespace and name.
func IsTraceOf(o metav1.Object, key types.NamespacedName) bool {
	return o.GetAnnotations()[v1alpha1.AnnotationTrace] == key.String()
}

// Trace is the state of the Job of a ConnectionTrace.
type Trace struct {
	// Ended is set when the Job will not report a result any more.
	Ended bool
	// Summary is the part of the result that the status shows, nil without a
	// result.
	Summary *flowio.Summary
	// Result is the result as JSON.
	Result string
	// Message explains why an ended Job has no result, or why a running Job does
	// not start.
	Message string
	// FinishedAt is the time at which the tracer ended, zero if unknown.
	FinishedAt metav1.Time
}

// ReadTrace returns the state of the Job, from the Job and its pods.
func ReadTrace(job *batchv1.Job, pods []corev1.Pod) Trace {
	own := newestFirst(job, pods)
	for i := range own {
		if t := terminated(&own[i]); t != nil {
			return traceFrom(job, t)
		}
	}
	out := Trace{}
	if r, ended := fromJob(job, own); ended {
		out.Ended, out.Message, out.FinishedAt = true, r.Message, r.FinishedAt
	} else if len(own) > 0 {
		out.Message = obstacleOf(&own[0])
	}
	out.Message = ofTracer(out.Message)
	return out
}

// ofTracer names the tracer in a message about a Job.
func ofTracer(message string) string { return strings.ReplaceAll(message, "rule-writer", "tracer") }

// traceFrom evaluates the termination message of the tracer. The message is not
// trusted: it is bounded, must be JSON, and must name the pod of the Job.
func traceFrom(job *batchv1.Job, t *corev1.ContainerStateTerminated) Trace {
	out := Trace{Ended: true, FinishedAt: t.FinishedAt}
	result, err := flowio.Unpack([]byte(t.Message))
	if err == nil {
		var s flowio.Summary
		if s, err = flowio.Summarize(result); err == nil {
			out.Summary = &s
		}
	}
	var compact bytes.Buffer
	if err == nil {
		err = json.Compact(&compact, bytes.ToValidUTF8(result, []byte("?")))
	}
	switch {
	case err != nil:
		out.Summary = nil
		out.Message = cmp.Or(ofTracer(withoutMessage(t).Message), err.Error())
	case out.Summary.PodUID != job.Labels[v1alpha1.LabelTracedPod]:
		out.Summary, out.Message = nil, "the tracer reported the result of another pod"
	case compact.Len() > flowio.MaxResultBytes:
		// The summary is bounded when it is shown.
	default:
		out.Result = compact.String()
	}
	return out
}
