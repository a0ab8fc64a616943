// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

func TestAuditable(t *testing.T) {
	tests := map[string]struct {
		change func(*v1alpha1.PodNATConfiguration, *corev1.Pod)
		want   bool
	}{
		"programmed": {func(*v1alpha1.PodNATConfiguration, *corev1.Pod) {}, true},
		"repaired": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) {
			c.Status.Repairs.Count, c.Status.Applied.Repair = 2, 2
		}, true},
		"a repair is due": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Status.Repairs.Count = 1 }, false},
		"edited":          {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Spec.Inbound.Mesh = []int32{9090} }, false},
		"refused":         {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Spec.Inbound.Mesh = []int32{15006} }, false},
		"being deleted": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) {
			c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}, false},
		"another pod":        {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.UID = "other" }, false},
		"another node":       {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.Spec.NodeName = "node-b" }, false},
		"ended":              {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false},
		"without address":    {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.Status.PodIPs = nil }, false},
		"with a new address": {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.Status.PodIPs[0].IP = "10.244.0.8" }, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			pod := builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Node("node-a").IP("10.244.0.7").Obj()
			config := builders.PodNAT("web", pod).Obj()
			request, err := natplan.ApplyRequest(config, pod)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := request.Digest()
			if err != nil {
				t.Fatal(err)
			}
			config.Status.Applied.RequestDigest = digest
			tc.change(config, pod)
			target, ok := auditable(config, pod, "node-a")
			if ok != tc.want {
				t.Fatalf("got %v, want %v", ok, tc.want)
			}
			if ok && (target.Entry != rulejob.EntryOf(config) || target.Target.PodUID != string(pod.UID) || target.Target.Plan == nil) {
				t.Errorf("target %+v", target)
			}
		})
	}
}

func TestResultOf(t *testing.T) {
	for want, outcomes := range map[string][]ruleio.Outcome{
		"Failed":     nil,
		"Clean":      {ruleio.OutcomeVerified, ruleio.OutcomeVerified},
		"Drifted":    {ruleio.OutcomeFailed, ruleio.OutcomeVerified, ruleio.OutcomeDrifted},
		"Incomplete": {ruleio.OutcomeVerified, ruleio.OutcomeTargetGone},
	} {
		var a rulejob.Audit
		for _, o := range outcomes {
			a.Results = append(a.Results, rulejob.AuditResult{Target: ruleio.TargetResult{Outcome: o}})
		}
		if got := resultOf(a); got != want {
			t.Errorf("%v is %s, want %s", outcomes, got, want)
		}
	}
}

func TestFindings(t *testing.T) {
	result := func(o ruleio.Outcome) rulejob.AuditResult {
		return rulejob.AuditResult{Entry: rulejob.AuditEntry{Config: "shop/web"}, Target: ruleio.TargetResult{Outcome: o, Message: "why"}}
	}
	for name, tc := range map[string]struct {
		audit rulejob.Audit
		want  []string
	}{
		"verified":         {rulejob.Audit{Results: []rulejob.AuditResult{result(ruleio.OutcomeVerified)}}, nil},
		"ended meanwhile":  {rulejob.Audit{Results: []rulejob.AuditResult{result(ruleio.OutcomeTargetGone), result(ruleio.OutcomeVerified)}}, nil},
		"drifted":          {rulejob.Audit{Results: []rulejob.AuditResult{result(ruleio.OutcomeVerified), result(ruleio.OutcomeDrifted)}}, []string{"shop/web: Drifted: why"}},
		"not read":         {rulejob.Audit{Results: []rulejob.AuditResult{result(ruleio.OutcomeFailed)}}, []string{"shop/web: Failed: why"}},
		"failed":           {rulejob.Audit{Message: "no image"}, []string{"no image"}},
		"without a result": {rulejob.Audit{}, []string{"the Job ended without a result"}},
	} {
		if diff := cmp.Diff(tc.want, findings(tc.audit)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
