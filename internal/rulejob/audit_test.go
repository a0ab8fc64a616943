// SPDX-License-Identifier: Apache-2.0

package rulejob_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

var auditConfig = rulejob.Config{Namespace: "meshvm-system", Image: "image", ServiceAccount: "sa"}

func auditTargets(t *testing.T, n int) []rulejob.AuditTarget {
	t.Helper()
	var out []rulejob.AuditTarget
	for i := range n {
		pod := b.LauncherPod(b.VMI(fmt.Sprintf("web-%d", i)).Obj(), "abcde").IP("10.244.0.7").Obj()
		config := b.PodNAT(fmt.Sprintf("web-%d", i), pod).Obj()
		request, err := natplan.ApplyRequest(config, pod)
		if err != nil {
			t.Fatal(err)
		}
		config.Status.Applied.RequestDigest, config.Status.Applied.Repair = strings.Repeat("d", 64), 3
		request.Targets[0].Reset = i%2 == 0
		out = append(out, rulejob.AuditTarget{Target: request.Targets[0], Entry: rulejob.EntryOf(config)})
	}
	return out
}

// auditPod returns the pod that the Job controller creates for an audit Job, with a
// termination message.
func auditPod(job *batchv1.Job, message string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: job.Spec.Template.ObjectMeta,
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: rulejob.ContainerName, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: message}},
		}}},
	}
}

func TestBuildAudit(t *testing.T) {
	node := strings.Repeat("worker.example.", 16) + "com"
	targets := auditTargets(t, 3)
	job, err := rulejob.BuildAudit(auditConfig, node, 1767323045, 2, targets)
	if err != nil {
		t.Fatal(err)
	}
	if problems := validation.IsDNS1123Label(job.Name); len(problems) > 0 || len(job.Name) > 57 {
		t.Errorf("name %s: %v", job.Name, problems)
	}
	for _, labels := range []map[string]string{job.Labels, job.Spec.Template.Labels} {
		if labels[v1alpha1.LabelPodNATConfiguration] != "" || labels[v1alpha1.LabelAuditNode] != rulejob.AuditLabels(node)[v1alpha1.LabelAuditNode] {
			t.Errorf("labels %v", labels)
		}
	}
	if job.Spec.Template.Spec.NodeName != node || job.Annotations[v1alpha1.AnnotationAuditNode] != node {
		t.Errorf("the Job is for node %s", job.Spec.Template.Spec.NodeName)
	}
	for _, o := range []interface{ GetAnnotations() map[string]string }{job, &job.Spec.Template} {
		if o.GetAnnotations()[v1alpha1.AnnotationRuleOwner] != "" {
			t.Error("the audit Job has the label of a single PodNATConfiguration")
		}
	}
	if diff := cmp.Diff([]rulejob.AuditEntry{targets[0].Entry, targets[1].Entry, targets[2].Entry}, rulejob.AuditEntries(job)); diff != "" {
		t.Error(diff)
	}
}

func TestAuditsWriteNothing(t *testing.T) {
	targets := auditTargets(t, 3)
	job, err := rulejob.BuildAudit(auditConfig, "node-a", 1, 0, targets)
	if err != nil {
		t.Fatal(err)
	}
	request, err := ruleio.DecodeRequest([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationRuleRequest]))
	if err != nil {
		t.Fatal(err)
	}
	for i, target := range request.Targets {
		if target.Operation != ruleio.OperationVerify || target.Reset || target.Plan == nil || target.PodUID != targets[i].Target.PodUID {
			t.Errorf("target %d: %+v", i, target)
		}
	}
}

func TestAuditGroups(t *testing.T) {
	large := auditTargets(t, 20)
	for i := range large {
		for n := range 5000 {
			large[i].Target.Plan.Outbound.ExcludeCIDRs = append(large[i].Target.Plan.Outbound.ExcludeCIDRs, fmt.Sprintf("10.%d.%d.0/24", n/256, n%256))
		}
	}
	tests := map[string]struct {
		targets []rulejob.AuditTarget
		want    []int
	}{
		"none":                      {nil, nil},
		"one":                       {auditTargets(t, 1), []int{1}},
		"maximum number":            {auditTargets(t, rulejob.MaxAuditTargets), []int{rulejob.MaxAuditTargets}},
		"one more than the maximum": {auditTargets(t, rulejob.MaxAuditTargets+1), []int{rulejob.MaxAuditTargets, 1}},
		"large plans":               {large[:3], []int{2, 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			groups, err := rulejob.AuditGroups(tc.targets)
			if err != nil {
				t.Fatal(err)
			}
			var sizes []int
			for i, g := range groups {
				sizes = append(sizes, len(g))
				if _, err := rulejob.BuildAudit(auditConfig, "node-a", 1, i, g); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(tc.want, sizes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAuditOfAllDriftedFits encodes the largest result: all targets have drifted
// and have large counters.
func TestAuditOfAllDriftedFits(t *testing.T) {
	r := ruleio.Result{Version: ruleio.ResultVersion, RequestDigest: strings.Repeat("a", 64)}
	for range rulejob.MaxAuditTargets {
		r.Targets = append(r.Targets, ruleio.TargetResult{
			PodUID: strings.Repeat("u", 36), Outcome: ruleio.OutcomeDrifted, TableDigest: strings.Repeat("d", 64), NetnsInode: 4026532000,
			Rules: 30, DurationMicroseconds: 123456, Counters: &ruleio.Counters{Captured: 1 << 40, Direct: 1 << 40, Dropped: 1 << 40},
			Message: strings.Repeat("chain prerouting: rule 3 is missing; ", 40),
		})
	}
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ruleio.DecodeResult(encoded)
	if err != nil || len(got.Targets) != rulejob.MaxAuditTargets || got.Targets[0].Outcome != ruleio.OutcomeDrifted || got.Targets[0].Message == "" {
		t.Errorf("%d bytes: %v, %+v", len(encoded), err, got.Targets)
	}
}

func TestReadAudit(t *testing.T) {
	targets := auditTargets(t, 2)
	job, err := rulejob.BuildAudit(auditConfig, "node-a", 1, 0, targets)
	if err != nil {
		t.Fatal(err)
	}
	digest := ruleio.DigestOf([]byte(job.Spec.Template.Annotations[v1alpha1.AnnotationRuleRequest]))
	encode := func(digest string, n int) string {
		r := ruleio.Result{Version: ruleio.ResultVersion, RequestDigest: digest}
		for i := range n {
			r.Targets = append(r.Targets, ruleio.TargetResult{PodUID: targets[i].Target.PodUID, Outcome: ruleio.OutcomeVerified})
		}
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(encoded)
	}
	failed := job.DeepCopy()
	failed.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonDeadlineExceeded}}
	running := auditPod(job, "")
	running.Status.ContainerStatuses = nil
	tests := map[string]struct {
		job     *batchv1.Job
		pods    []corev1.Pod
		ended   bool
		results int
		message string
	}{
		"no pod yet":      {job, nil, false, 0, ""},
		"running":         {job, []corev1.Pod{running}, false, 0, ""},
		"all verified":    {job, []corev1.Pod{auditPod(job, encode(digest, 2))}, true, 2, ""},
		"another request": {job, []corev1.Pod{auditPod(job, encode("other", 2))}, true, 0, "another request"},
		"one is missing":  {job, []corev1.Pod{auditPod(job, encode(digest, 1))}, true, 0, "every target"},
		"no message":      {job, []corev1.Pod{auditPod(job, "")}, true, 0, "without a result"},
		"deadline":        {failed, []corev1.Pod{running}, true, 0, "deadline"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := rulejob.ReadAudit(tc.job, tc.pods)
			if got.Ended != tc.ended || len(got.Results) != tc.results || !strings.Contains(got.Message, tc.message) || (tc.message == "") != (got.Message == "") {
				t.Errorf("got %+v", got)
			}
			for i, r := range got.Results {
				if r.Target.PodUID != targets[i].Target.PodUID || r.Entry != targets[i].Entry {
					t.Errorf("result %d is %+v", i, r)
				}
			}
			if len(tc.pods) > 0 {
				if results := rulejob.AuditResults(&tc.pods[0]); len(results) != tc.results {
					t.Errorf("from the pod alone: %v", results)
				}
			}
		})
	}
}

func TestRepairHasAnotherJobName(t *testing.T) {
	config := podNAT().Obj()
	digest := strings.Repeat("a", 64)
	names := map[string]bool{}
	for n := range int32(4) {
		config.Status.Repairs.Count = n
		names[rulejob.JobName(config, digest)] = true
	}
	if len(names) != 4 {
		t.Errorf("names %v", names)
	}
}
