// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/rulejob"
)

// TestProxyConfigured compares states of a proxy with Istio's policies.
func TestProxyConfigured(t *testing.T) {
	now := builders.Epoch.Time
	expiry := metav1.NewTime(now.Add(time.Minute))
	for name, tc := range map[string]struct {
		change func(*scope, *v1alpha1.ProxyStatus)
		want   v1alpha1.ConditionReason
		// message is a part of the message.
		message string
	}{
		"as requested":            {func(*scope, *v1alpha1.ProxyStatus) {}, v1alpha1.ReasonConfigured, ""},
		"never read":              {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Kind = "" }, "", ""},
		"no pod":                  {func(s *scope, _ *v1alpha1.ProxyStatus) { s.pod = nil }, "", ""},
		"policies not known":      {func(s *scope, p *v1alpha1.ProxyStatus) { s.config.Annotations, p.Inbound, p.Policies = nil, nil, "" }, v1alpha1.ReasonConfigured, ""},
		"container not ready":     {func(s *scope, _ *v1alpha1.ProxyStatus) { s.pod.Status.InitContainerStatuses = nil }, v1alpha1.ReasonProxyNotLive, "as ready"},
		"policies changed":        {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Policies = "other" }, v1alpha1.ReasonPending, "changed"},
		"restarted":               {func(_ *scope, p *v1alpha1.ProxyStatus) { p.ContainerStarted = &metav1.Time{Time: now.Add(-time.Hour)} }, v1alpha1.ReasonPending, "restarted"},
		"unreadable":              {func(_ *scope, p *v1alpha1.ProxyStatus) { p.State, p.Message = v1alpha1.ProxyPhaseUnreadable, "refused" }, v1alpha1.ReasonProxyUnreadable, "refused"},
		"draining":                {func(_ *scope, p *v1alpha1.ProxyStatus) { p.State = v1alpha1.ProxyPhaseDraining }, v1alpha1.ReasonProxyNotLive, "Draining"},
		"rejected":                {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Configuration = v1alpha1.ProxyConfigurationRejected }, v1alpha1.ReasonProxyRejected, "rejected"},
		"weaker":                  {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Inbound[0].Mode = v1alpha1.MTLSModePermissive }, v1alpha1.ReasonProxyDiffers, "Permissive for port 8080"},
		"closed port":             {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Inbound = nil }, v1alpha1.ReasonProxyDiffers, "no connections to port 8080"},
		"another service account": {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Identity = "spiffe://cluster.local/ns/shop/sa/other" }, v1alpha1.ReasonCertificateInvalid, "sa/other"},
		"expired after the audit": {func(s *scope, p *v1alpha1.ProxyStatus) {
			before := metav1.NewTime(expiry.Add(-time.Hour))
			s.now, p.Since = expiry.Time, &before
		}, v1alpha1.ReasonPending, "waiting for the next audit"},
		"read as expired": {func(s *scope, p *v1alpha1.ProxyStatus) { s.now, p.Since = expiry.Time, &expiry }, v1alpha1.ReasonCertificateInvalid, "expired"},
		"expired":         {func(s *scope, _ *v1alpha1.ProxyStatus) { s.now = expiry.Time }, v1alpha1.ReasonCertificateInvalid, "expired"},
		"no certificate":  {func(_ *scope, p *v1alpha1.ProxyStatus) { p.CertificateExpiry = nil }, v1alpha1.ReasonCertificateInvalid, ""},
		"not connected":   {func(_ *scope, p *v1alpha1.ProxyStatus) { p.Configuration = v1alpha1.ProxyConfigurationStale }, v1alpha1.ReasonProxyStale, "not connected"},
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting(t)
			s.now = now
			s.config.Annotations = map[string]string{v1alpha1.AnnotationMutualTLS: "8080=Strict"}
			s.pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
				Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: builders.Epoch}},
			}}
			p := &s.config.Status.Proxy
			*p = v1alpha1.ProxyStatus{
				Kind: v1alpha1.ProxyKindEnvoy, State: v1alpha1.ProxyPhaseLive, Configuration: v1alpha1.ProxyConfigurationSynced,
				Identity: "spiffe://cluster.local/ns/" + s.pod.Namespace + "/sa/default", CertificateExpiry: &expiry,
				Policies: rulejob.PoliciesOf(s.config),
				Inbound:  []v1alpha1.ProxyPort{{Port: 8080, Mode: v1alpha1.MTLSModeStrict}}, ContainerStarted: &builders.Epoch,
			}
			tc.change(s, p)
			c, ok := s.proxyConfigured()
			if ok != (tc.want != "") || c.Reason != tc.want || !strings.Contains(c.Message, tc.message) {
				t.Errorf("reason %q, message %q", c.Reason, c.Message)
			}
			if name == "as requested" && s.nextLook() != time.Minute {
				t.Errorf("the next reconcile is in %s", s.nextLook())
			}
		})
	}
}
