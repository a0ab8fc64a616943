// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// sidecarStarts reports to the API server that the sidecar was started and is ready.
func (s *suite) sidecarStarts(pod *corev1.Pod, at time.Time) {
	s.Helper()
	s.podIs(pod, func(st *corev1.PodStatus) {
		st.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "istio-proxy", Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}},
		}}
	})
}

// live returns the state of a proxy that runs one mode for port 8080.
func (s *suite) live(change func(*ruleio.ProxyState)) *ruleio.ProxyState {
	p := &ruleio.ProxyState{
		Kind: ruleio.ProxyEnvoy, Version: "1.39.3", Phase: ruleio.ProxyLive, Configuration: ruleio.ProxySynced,
		Identity: "spiffe://cluster.local/ns/" + s.namespace + "/sa/default", CertificateExpiry: time.Now().Add(time.Hour).Unix(),
	}
	change(p)
	return p
}

func strict(p *ruleio.ProxyState)     { p.Strict = ruleio.Ports(8080) }
func permissive(p *ruleio.ProxyState) { p.Permissive = ruleio.Ports(8080) }

// awaitMode waits until the status has an effective mode with a source.
func (s *suite) awaitMode(name string, mode v1alpha1.MTLSMode, source v1alpha1.MTLSSource) {
	s.Helper()
	s.eventually(fmt.Sprintf("the effective mode is %s by %s", mode, source), func() error {
		if got := s.mvm(name).Status.MTLS; got.EffectiveMode != mode || got.Source != source {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}

// TestStatusFollowsTheProxy checks that audits report the state of a proxy when it becomes
// ready, is restarted, or is configured by another object than Istio's policies.
func TestStatusFollowsTheProxy(t *testing.T) {
	s := start(t, every(time.Hour))
	kernel := s.answerAudits()
	o := s.web()
	pod := s.converge(o)
	s.awaitMode(o.Name, v1alpha1.MTLSModeStrict, v1alpha1.MTLSSourcePolicy)
	began := time.Now().Add(time.Hour).Truncate(time.Second)

	kernel.proxy(s.live(strict))
	s.sidecarStarts(pod, began)
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionProxyConfigured, yes, v1alpha1.ReasonConfigured})
	s.awaitMode(o.Name, v1alpha1.MTLSModeStrict, v1alpha1.MTLSSourceProxy)
	if p := nat.Status.Proxy; p.Version != "1.39.3" || p.Identity == "" || len(p.Inbound) != 1 || p.Inbound[0] != (v1alpha1.ProxyPort{Port: 8080, Mode: v1alpha1.MTLSModeStrict}) {
		t.Errorf("status.proxy is %+v", p)
	}
	s.quiet()

	kernel.proxy(s.live(permissive))
	s.sidecarStarts(pod, began.Add(time.Minute))
	s.awaitNAT(pod, want{v1alpha1.ConditionProxyConfigured, no, v1alpha1.ReasonProxyDiffers}, want{v1alpha1.ConditionReady, yes, ""})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonProxyDiffers}, want{v1alpha1.ConditionReady, no, v1alpha1.ReasonProxyDiffers})
	s.awaitMode(o.Name, v1alpha1.MTLSModePermissive, v1alpha1.MTLSSourceProxy)

	// The operator reads the proxy again, without an event.
	kernel.proxy(s.live(strict))
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitMode(o.Name, v1alpha1.MTLSModeStrict, v1alpha1.MTLSSourceProxy)

	kernel.proxy(&ruleio.ProxyState{Kind: ruleio.ProxyEnvoy, Error: "/server_info: connection refused"})
	s.sidecarStarts(pod, began.Add(2*time.Minute))
	s.awaitNAT(pod, want{v1alpha1.ConditionProxyConfigured, no, v1alpha1.ReasonProxyUnreadable})
	s.awaitMode(o.Name, v1alpha1.MTLSModeStrict, v1alpha1.MTLSSourcePolicy)

	kernel.proxy(s.live(permissive))
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.MTLS.Mode = v1alpha1.MTLSModePermissive })
	s.awaitNAT(pod, want{v1alpha1.ConditionProxyConfigured, yes, v1alpha1.ReasonConfigured})
	s.awaitMode(o.Name, v1alpha1.MTLSModePermissive, v1alpha1.MTLSSourceProxy)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}
