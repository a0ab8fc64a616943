// SPDX-License-Identifier: Apache-2.0

package drift_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

// proxied returns a status and the result of an audit that read a proxy.
func proxied() (*v1alpha1.PodNATConfiguration, rulejob.AuditResult) {
	c, r := proven()
	started := builders.Epoch
	r.Entry.ProxyStarted, r.FinishedAt = &started, metav1.NewTime(started.Add(time.Minute))
	r.Target.Proxy = &ruleio.ProxyState{
		Kind: ruleio.ProxyEnvoy, Phase: ruleio.ProxyLive, Configuration: ruleio.ProxySynced,
		Identity: "spiffe://cluster.local/ns/shop/sa/web", CertificateExpiry: started.Add(time.Hour).Unix(),
		Strict: ruleio.Ports(9090), Permissive: ruleio.Ports(8080), Disabled: ruleio.Ports(7070),
	}
	return c, r
}

func TestFromAuditOfProxy(t *testing.T) {
	c, r := proxied()
	change := drift.FromAudit(c.UID, &c.Status, r)
	if change.Proxy == nil || change.IsZero() {
		t.Fatal("the state of the proxy is not new")
	}
	want := []v1alpha1.ProxyPort{{Port: 7070, Mode: v1alpha1.MTLSModeDisable}, {Port: 8080, Mode: v1alpha1.MTLSModePermissive}, {Port: 9090, Mode: v1alpha1.MTLSModeStrict}}
	if diff := cmp.Diff(want, change.Proxy.Inbound); diff != "" {
		t.Error(diff)
	}
	for name, tc := range map[string]struct {
		change func(*rulejob.AuditResult)
		want   v1alpha1.ProxyPhase
	}{
		"the same state later":    {func(r *rulejob.AuditResult) { r.FinishedAt.Time = r.FinishedAt.Add(time.Minute) }, ""},
		"the certificate expired": {func(r *rulejob.AuditResult) { r.FinishedAt.Time = r.FinishedAt.Add(2 * time.Hour) }, v1alpha1.ProxyPhaseLive},
		"another state":           {func(r *rulejob.AuditResult) { r.Target.Proxy.Phase = ruleio.ProxyDraining }, v1alpha1.ProxyPhaseDraining},
		"not read":                {func(r *rulejob.AuditResult) { r.Target.Proxy = nil }, ""},
		"an error":                {func(r *rulejob.AuditResult) { r.Target.Proxy = &ruleio.ProxyState{Kind: ruleio.ProxyEnvoy, Error: "x"} }, v1alpha1.ProxyPhaseUnreadable},
		"an earlier audit": {func(r *rulejob.AuditResult) {
			r.Target.Proxy.Phase, r.FinishedAt = ruleio.ProxyDraining, builders.Epoch
		}, ""},
		"another container": {func(r *rulejob.AuditResult) { r.Entry.ProxyStarted = &r.FinishedAt }, v1alpha1.ProxyPhaseLive},
		"another namespace": {func(r *rulejob.AuditResult) { r.Target.Proxy.Phase = ruleio.ProxyDraining; r.Target.NetnsInode++ }, ""},
		"rules that could not be read": {func(r *rulejob.AuditResult) {
			r.Target.Proxy.Phase = ruleio.ProxyDraining
			r.Target.Outcome = ruleio.OutcomeFailed
		}, ""},
	} {
		c, r := proxied()
		c.Status.Proxy = *drift.FromAudit(c.UID, &c.Status, r).Proxy
		tc.change(&r)
		got := v1alpha1.ProxyPhase("")
		if p := drift.FromAudit(c.UID, &c.Status, r).Proxy; p != nil {
			got = p.State
		}
		if got != tc.want {
			t.Errorf("%s: state %q, want %q", name, got, tc.want)
		}
	}
}

// TestStartingProxyIsNotReported checks that an error of a proxy that was never ready is not
// written to the status.
func TestStartingProxyIsNotReported(t *testing.T) {
	c, r := proxied()
	r.Entry.ProxyStarted, r.Target.Proxy = nil, &ruleio.ProxyState{Kind: ruleio.ProxyEnvoy, Error: "x"}
	if p := drift.FromAudit(c.UID, &c.Status, r).Proxy; p != nil {
		t.Errorf("%+v", p)
	}
}

func TestProxyKnown(t *testing.T) {
	c, r := proxied()
	pod := builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Obj()
	ready := func(started metav1.Time) {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
		}}
	}
	ready(builders.Epoch)
	if drift.ProxyKnown(&c.Status, pod) {
		t.Error("known before an audit")
	}
	c.Status.Proxy = *drift.FromAudit(c.UID, &c.Status, r).Proxy
	if !drift.ProxyKnown(&c.Status, pod) {
		t.Error("not known after an audit")
	}
	ready(metav1.NewTime(builders.Epoch.Add(time.Second)))
	if drift.ProxyKnown(&c.Status, pod) {
		t.Error("known after a restart of the proxy")
	}
	pod.Status.InitContainerStatuses = nil
	if drift.ProxyKnown(&c.Status, pod) {
		t.Error("known although it is not ready")
	}
}

func TestReread(t *testing.T) {
	for audits, want := range []time.Duration{3 * time.Second, 6 * time.Second, 12 * time.Second, 20 * time.Second, 20 * time.Second} {
		if got := drift.Reread(audits, 20*time.Second); got != want {
			t.Errorf("after %d audits: %s, want %s", audits, got, want)
		}
	}
}
