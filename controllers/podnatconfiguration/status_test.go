// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/validate"
)

// waiting returns a scope whose Job has just been created.
func waiting(t *testing.T, mods ...func(*scope)) *scope {
	t.Helper()
	vmi := builders.VMI("web").Obj()
	pod := builders.LauncherPod(vmi, "abcde").Node("node-a").IP("10.244.0.7").Condition(corev1.PodReadyToStartContainers, true).Obj()
	config := builders.PodNAT("web-0123456789", pod).Obj()
	s := &scope{config: config, before: config.DeepCopy(), pod: pod, node: builders.Node("node-a", true)}
	for _, m := range mods {
		m(s)
	}
	if err := (&Reconciler{}).buildRequest(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func failed(reason v1alpha1.ConditionReason, retryable, gone bool) func(*scope) {
	return func(s *scope) {
		s.jobResult = &rulejob.Result{State: rulejob.StateFailed, Reason: reason, Message: "why", Retryable: retryable, TargetGone: gone}
	}
}

// inAmbient changes the pod to a pod in ambient mode. redirection is the value
// of istio-cni's annotation.
func inAmbient(redirection string) func(*scope) {
	return func(s *scope) {
		s.pod = builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Node("node-a").IP("10.244.0.7").Ambient(redirection, false).Obj()
		s.config.Spec.DataPlane = v1alpha1.DataPlaneAmbient
		s.config.Spec.Proxy.LocalPorts = validate.AmbientLocalPorts
	}
}

// TestAwaitEnrollment checks that the wait for istio-cni is limited.
func TestAwaitEnrollment(t *testing.T) {
	s := waiting(t, inAmbient(""))
	start := s.pod.CreationTimestamp.Time
	if at := launcherpod.SandboxReadySince(s.pod); at != nil {
		start = at.Time
	}
	for _, tc := range []struct {
		after, want time.Duration
		overdue     bool
	}{{0, time.Minute, false}, {59 * time.Second, time.Second, false}, {time.Minute, 0, true}, {time.Hour, 0, true}} {
		if got := s.awaitEnrollment(start.Add(tc.after)); got != tc.want || s.enrollmentOverdue != tc.overdue {
			t.Errorf("after %s: wait %s, overdue %t", tc.after, got, s.enrollmentOverdue)
		}
	}
	if got := waiting(t, inAmbient("enabled")).awaitEnrollment(start); got != 0 {
		t.Errorf("wait %s for an enrolled pod", got)
	}
	if got := waiting(t).awaitEnrollment(start); got != 0 {
		t.Errorf("wait %s for a pod with a sidecar", got)
	}
}

func TestWriteStatus(t *testing.T) {
	tests := map[string]struct {
		mods []func(*scope)
		want string
	}{
		"the Job is running": {nil, "Accepted=True TargetResolved=True Programmed=False/Programming Ready=False Reconciling=True"},
		"no pod":             {[]func(*scope){func(s *scope) { s.pod = nil }}, "TargetResolved=False/PodNotFound Programmed=False/Programming Reconciling=True"},
		"no sandbox":         {[]func(*scope){func(s *scope) { s.pod.Status.PodIPs = nil }}, "TargetResolved=False/SandboxNotReady Reconciling=True"},
		"pod terminated":     {[]func(*scope){func(s *scope) { s.pod.Status.Phase = corev1.PodFailed }}, "TargetResolved=False/TargetGone"},
		"node down":          {[]func(*scope){func(s *scope) { s.node = builders.Node("node-a", false) }}, "TargetResolved=False/NodeNotReady Reconciling=True"},
		"node deleted":       {[]func(*scope){func(s *scope) { s.node = nil }}, "TargetResolved=False/NodeNotReady"},
		"a hidden pod": {
			[]func(*scope){func(s *scope) { s.hidden, s.pod.Labels = true, nil }},
			"Accepted=True/Accepted TargetResolved=True/Resolved",
		},
		"not a virt-launcher pod": {
			[]func(*scope){func(s *scope) { s.pod.OwnerReferences = nil }},
			"Accepted=False/NotALauncherPod Programmed=False/NotALauncherPod Ready=False/NotALauncherPod Stalled=True",
		},
		"the proxy's own port": {
			[]func(*scope){func(s *scope) { s.config.Spec.Inbound.DirectTCP = []int32{15006} }},
			"Accepted=False/ReservedPort Stalled=True",
		},
		"no proxy was injected": {
			[]func(*scope){func(s *scope) { s.pod.Spec.InitContainers = nil }},
			"TargetResolved=False/ProxyMissing Programmed=False/Programming Stalled=True",
		},
		"not enrolled yet": {
			[]func(*scope){inAmbient("")},
			"Accepted=True TargetResolved=False/AmbientNotEnrolled Programmed=False/Programming Reconciling=True",
		},
		"enrollment overdue": {
			[]func(*scope){inAmbient(""), func(s *scope) { s.enrollmentOverdue = true }},
			"TargetResolved=False/AmbientNotEnrolled Ready=False/AmbientNotEnrolled Stalled=True",
		},
		"enrollment pending in ztunnel":     {[]func(*scope){inAmbient("pending")}, "TargetResolved=False/AmbientNotEnrolled Reconciling=True"},
		"enrolled":                          {[]func(*scope){inAmbient("enabled")}, "TargetResolved=True Programmed=False/Programming Reconciling=True"},
		"retryable failure":                 {[]func(*scope){failed(v1alpha1.ReasonWriteFailed, true, false)}, "Programmed=False/WriteFailed Reconciling=True"},
		"permanent failure":                 {[]func(*scope){failed(v1alpha1.ReasonKernelUnsupported, false, false)}, "Programmed=False/KernelUnsupported Stalled=True"},
		"no process of the pod on the node": {[]func(*scope){failed(v1alpha1.ReasonTargetGone, false, true)}, "TargetResolved=False/TargetGone Reconciling=True"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := waiting(t, tc.mods...)
			s.writeStatus()
			var all strings.Builder
			for _, c := range s.config.Status.Conditions {
				fmt.Fprintf(&all, "%s=%s/%s ", c.Type, c.Status, c.Reason)
			}
			for w := range strings.FieldsSeq(tc.want) {
				if !strings.Contains(all.String(), w+" ") && !strings.Contains(all.String(), w+"/") {
					t.Errorf("%s is missing in %s", w, all.String())
				}
			}
		})
	}
}

// repairing returns a scope whose rules were verified and then found missing.
func repairing(t *testing.T, reason v1alpha1.ConditionReason, recent int32) *scope {
	t.Helper()
	s := waiting(t)
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s.config.Status.Applied = v1alpha1.AppliedRules{RequestDigest: s.digest, NetnsInode: 42, Time: &at, Node: "node-a"}
	s.config.Status.Repairs = v1alpha1.RepairsStatus{Count: recent, LastTime: &at, LastReason: reason, LastMessage: "the table is missing", WindowStart: &at, Recent: recent}
	s.config.Status.Applied.Node = ""
	r := &Reconciler{Limits: func() drift.Limits { return drift.Limits{Drifts: 3, Window: time.Hour, Backoff: time.Minute} }, Now: func() time.Time { return at.Time }}
	r.findDrift(s)
	return s
}

func TestStatusOfRepairs(t *testing.T) {
	tests := map[string]struct {
		reason  v1alpha1.ConditionReason
		recent  int32
		outcome func(*scope)
		want    string
		message string
	}{
		"found":            {v1alpha1.ReasonDrifted, 1, nil, "Programmed=False/Drifted Ready=False/Drifted Reconciling=True", "the table is missing; programming the rules again"},
		"backing off":      {v1alpha1.ReasonDrifted, 3, nil, "Programmed=False/Drifted Reconciling=True", "the table is missing"},
		"a fight":          {v1alpha1.ReasonDrifted, 4, nil, "Programmed=False/Contended Ready=False/Contended Stalled=True/Contended", "4 times since 2026-01-02T03:04:05Z, most recently: the table is missing; repairs are suspended until 2026-01-02T04:04:05Z"},
		"sandbox":          {v1alpha1.ReasonSandboxRecreated, 4, nil, "Programmed=False/SandboxRecreated Reconciling=True", "the table is missing"},
		"the repair fails": {v1alpha1.ReasonDrifted, 1, failed(v1alpha1.ReasonWriteFailed, true, false), "Programmed=False/WriteFailed Reconciling=True", "why"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := repairing(t, tc.reason, tc.recent)
			if tc.outcome != nil {
				tc.outcome(s)
			}
			s.writeStatus()
			if s.config.Status.Applied.Node != "node-a" {
				t.Error("rules of an older version are not audited")
			}
			all := ""
			for _, c := range s.config.Status.Conditions {
				all += fmt.Sprintf("%s=%s/%s ", c.Type, c.Status, c.Reason)
				if c.Type == string(v1alpha1.ConditionProgrammed) && !strings.Contains(c.Message, tc.message) {
					t.Errorf("the message of Programmed is %q, want %q", c.Message, tc.message)
				}
			}
			for w := range strings.FieldsSeq(tc.want) {
				if !strings.Contains(all, w+" ") && !strings.Contains(all, w+"/") {
					t.Errorf("%s is missing in %s", w, all)
				}
			}
		})
	}
}

func TestStatusAfterReadBack(t *testing.T) {
	s := waiting(t)
	digest := s.digest
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	s.config.Status.Attempts, s.config.Status.Job = 3, "job"
	s.proven = &ruleio.TargetResult{TableDigest: strings.Repeat("a", 64), NetnsInode: 42, Rules: 7, DurationMicroseconds: 800}
	s.jobResult = &rulejob.Result{State: rulejob.StateSucceeded, FinishedAt: at}
	s.writeStatus()
	want := v1alpha1.AppliedRules{RequestDigest: digest, Digest: strings.Repeat("a", 64), NetnsInode: 42, Rules: 7, DurationMicroseconds: 800, Time: &at, Node: "node-a"}
	if diff := cmp.Diff(want, s.config.Status.Applied); diff != "" {
		t.Error(diff)
	}
	if s.config.Status.Attempts != 0 || s.config.Status.Job != "" {
		t.Errorf("after a success: attempts %d, job %q", s.config.Status.Attempts, s.config.Status.Job)
	}
	// An edit changes the request: the status still contains the rules that were
	// read back, but they do not verify the new request.
	s.config.Spec.Inbound.Mesh = append(s.config.Spec.Inbound.Mesh, 9443)
	s.proven, s.jobResult = nil, nil
	if err := (&Reconciler{}).buildRequest(s); err != nil {
		t.Fatal(err)
	}
	s.writeStatus()
	if diff := cmp.Diff(want, s.config.Status.Applied); s.rulesVerified() || diff != "" {
		t.Errorf("after an edit: rulesVerified() %v, %s", s.rulesVerified(), diff)
	}
}

func TestBackoff(t *testing.T) {
	for attempts, want := range map[int32]time.Duration{
		0: firstRetry, 1: firstRetry, 2: 2 * firstRetry, 3: 4 * firstRetry, 8: 256 * time.Second, 9: lastRetry, 1000: lastRetry,
	} {
		if got := backoff(attempts); got != want {
			t.Errorf("backoff(%d) = %s, want %s", attempts, got, want)
		}
	}
}

func TestProofMayBeStale(t *testing.T) {
	proven := func(t *testing.T) *scope {
		t.Helper()
		s := waiting(t)
		s.config.Status.Applied = v1alpha1.AppliedRules{RequestDigest: s.digest}
		return s
	}
	other := strings.Repeat("f", 64)
	for name, tc := range map[string]struct {
		change func(*scope)
		want   bool
	}{
		"no other Job":                       {func(*scope) {}, true},
		"the request's Job, not deleted yet": {func(s *scope) { s.jobs = []batchv1.Job{job(s, s.digest)} }, true},
		"another Job exists":                 {func(s *scope) { s.jobs = []batchv1.Job{job(s, other)} }, false},
		"another Job was created":            {func(s *scope) { s.config.Status.Job = rulejob.JobName(s.config, other) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := proven(t)
			tc.change(s)
			if got := s.rulesVerified(); got != tc.want {
				t.Errorf("applied() is %v, want %v", got, tc.want)
			}
		})
	}
}

func job(s *scope, digest string) batchv1.Job {
	return batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: rulejob.JobName(s.config, digest)}}
}

// TestNotCarried checks that Accepted describes the IPv6 traffic that the mesh
// does not carry.
func TestNotCarried(t *testing.T) {
	both := func(s *scope) { s.pod.Status.PodIPs = append(s.pod.Status.PodIPs, corev1.PodIP{IP: "fd00:244::7"}) }
	dual := func(s *scope) {
		s.config.Spec.Families = append(s.config.Spec.Families, v1alpha1.AddressFamily{Family: v1alpha1.IPFamilyIPv6, Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1"})
	}
	proxy := func(s *scope) { s.config.Spec.DNS, s.config.Spec.Proxy.DNSPort = v1alpha1.DNSPolicyProxy, 15053 }
	drop := func(s *scope) { s.config.Spec.Unmeshed = v1alpha1.UnmeshedPolicyDrop }
	for name, tc := range map[string]struct {
		mods []func(*scope)
		want string
	}{
		"IPv4":                      {nil, ""},
		"both":                      {[]func(*scope){both, dual}, ""},
		"both, sidecar of one":      {[]func(*scope){both}, "the guest's IPv6 traffic bypasses the mesh"},
		"both, DNS to the proxy":    {[]func(*scope){both, dual, proxy}, "its DNS over IPv6 bypasses the mesh"},
		"both, DNS to proxy, drops": {[]func(*scope){both, dual, proxy, drop}, "its DNS over IPv6 is dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			got := waiting(t, tc.mods...).acceptedCondition()
			if !strings.HasSuffix(got.Message, tc.want) || tc.want == "" && strings.Contains(got.Message, ";") {
				t.Errorf("message %q, want %q at its end", got.Message, tc.want)
			}
		})
	}
}
