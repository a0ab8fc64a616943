// SPDX-License-Identifier: Apache-2.0

package rulejob_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/flowio"
	"meshvm.io/meshvm/internal/rulejob"
)

const tracedUID = "5f0c2f5e-8a1b-4a0e-9a3b-0f6c3a0b1c2d"

func traceJob(t *testing.T) *batchv1.Job {
	t.Helper()
	cfg := auditConfig
	cfg.TracerImage, cfg.PriorityClassName = "tracer-image", "critical"
	trace := &v1alpha1.ConnectionTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: strings.Repeat("long.", 50) + "web", UID: "trace-uid"}}
	job, err := rulejob.BuildTrace(cfg, trace, "node-a", flowio.Request{Version: flowio.RequestVersion, PodUID: tracedUID, DurationMilliseconds: 30_000, MaxFlows: 1})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// TestBuildTrace checks that the Job of a trace has no more privileges than that of a
// rule-writer.
func TestBuildTrace(t *testing.T) {
	job := traceJob(t)
	audit, err := rulejob.BuildAudit(auditConfig, "node-a", 1, 0, auditTargets(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	got, other := job.Spec.Template.Spec, audit.Spec.Template.Spec
	c, otherContainer := &got.Containers[0], other.Containers[0]
	if c.Image != "tracer-image" || got.PriorityClassName != "" || *job.Spec.ActiveDeadlineSeconds != 150 {
		t.Errorf("image %s, priority %q, deadline %d", c.Image, got.PriorityClassName, *job.Spec.ActiveDeadlineSeconds)
	}
	if diff := cmp.Diff(otherContainer.SecurityContext, c.SecurityContext); diff != "" {
		t.Errorf("security context (-rule-writer +tracer):\n%s", diff)
	}
	c.Name, c.Image, c.Args, c.Resources = otherContainer.Name, otherContainer.Image, nil, otherContainer.Resources
	got.PriorityClassName, got.TerminationGracePeriodSeconds = other.PriorityClassName, other.TerminationGracePeriodSeconds
	if diff := cmp.Diff(other, got); diff != "" {
		t.Errorf("pod (-rule-writer +tracer):\n%s", diff)
	}
	if job.Name != "trace-"+tracedUID || len(job.Name) > 57 {
		t.Errorf("name %s", job.Name)
	}
}

func TestReadTrace(t *testing.T) {
	job := traceJob(t)
	result := `{"version":"` + flowio.ResultVersion + `", "podUID":"` + tracedUID + `","outcome":"Traced"}`
	ended := func(message string) corev1.Pod {
		p := auditPod(job, message)
		p.Status.ContainerStatuses[0].Name = rulejob.TracerContainerName
		return p
	}
	waiting := ended("")
	waiting.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}
	late := job.DeepCopy()
	late.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded}}
	for name, tc := range map[string]struct {
		job    *batchv1.Job
		pods   []corev1.Pod
		ended  bool
		result bool
		// message is a substring of the message.
		message string
	}{
		"no pod yet":                 {job, nil, false, false, ""},
		"the image cannot be pulled": {job, []corev1.Pod{waiting}, false, false, "cannot pull the tracer's image"},
		"result":                     {job, []corev1.Pod{ended(result)}, true, true, ""},
		"another pod":                {job, []corev1.Pod{ended(strings.Replace(result, tracedUID, "x", 1))}, true, false, "another pod"},
		"no result":                  {job, []corev1.Pod{ended("")}, true, false, "the tracer exited without a result"},
		"not a result":               {job, []corev1.Pod{ended("panic")}, true, false, "the tracer exited without a result"},
		"deadline":                   {late, nil, true, false, "the tracer exceeded its deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			got := rulejob.ReadTrace(tc.job, tc.pods)
			if got.Ended != tc.ended || (got.Summary != nil) != tc.result || (got.Result != "") != tc.result || !strings.Contains(got.Message, tc.message) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
