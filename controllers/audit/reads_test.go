// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/rulejob"
)

// TestReadDue checks that the delays between audits of a proxy grow, and begin again for
// another container and other policies.
func TestReadDue(t *testing.T) {
	now := builders.Epoch.Time
	r := &Reconciler{Now: func() time.Time { return now }}
	started := builders.Epoch
	target := rulejob.AuditTarget{Entry: rulejob.AuditEntry{UID: "a", ProxyStarted: &started, Policies: "a"}, Unread: true}
	due := func(want time.Duration) {
		t.Helper()
		if got := r.readDue(target, 20*time.Second); got != want {
			t.Errorf("due in %s, want %s", got, want)
		}
	}
	due(-1)
	due(3 * time.Second)
	now = now.Add(3 * time.Second)
	due(-1)
	due(6 * time.Second)
	now = now.Add(6 * time.Second)
	due(-1)
	due(0) // The next delay would be as long as the interval.
	target.Entry.Policies = "b"
	due(-1)
	target.Unread = false
	due(0)
	target.Unread = true
	due(-1)
	target.Entry.ProxyStarted = nil
	due(0)
}

func TestUnread(t *testing.T) {
	r := &Reconciler{began: builders.Epoch.Time}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PodNATConfiguration, *corev1.Pod)
		want   bool
	}{
		"configured": {func(*v1alpha1.PodNATConfiguration, *corev1.Pod) {}, false},
		"not ready":  {func(_ *v1alpha1.PodNATConfiguration, p *corev1.Pod) { p.Status.InitContainerStatuses = nil }, false},
		"never read": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Status.Proxy = v1alpha1.ProxyStatus{} }, true},
		"other policies": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) {
			c.Annotations = map[string]string{v1alpha1.AnnotationMutualTLS: "8080=Strict"}
		}, true},
		"restarted": {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Status.Proxy.ContainerStarted = nil }, true},
		"differs":   {func(c *v1alpha1.PodNATConfiguration, _ *corev1.Pod) { c.Status.Conditions = nil }, true},
		"never read, started before the manager": {func(c *v1alpha1.PodNATConfiguration, p *corev1.Pod) {
			c.Status.Proxy = v1alpha1.ProxyStatus{}
			p.Status.InitContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(builders.Epoch.Add(-time.Hour))
		}, false},
	} {
		pod := builders.LauncherPod(builders.VMI("web").Obj(), "abcde").Obj()
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: builders.Epoch}},
		}}
		config := builders.PodNAT("web", pod).Obj()
		config.Status.Proxy = v1alpha1.ProxyStatus{Kind: v1alpha1.ProxyKindEnvoy, ContainerStarted: &builders.Epoch}
		config.Status.Conditions = []metav1.Condition{{Type: string(v1alpha1.ConditionProxyConfigured), Status: metav1.ConditionTrue, ObservedGeneration: 1}}
		tc.change(config, pod)
		if got := r.unread(config, pod); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
