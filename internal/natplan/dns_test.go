// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/validate"
)

// TestDNSPort reads from the injected pod whether Istio captures its DNS.
func TestDNSPort(t *testing.T) {
	proxy := func(value string) corev1.Container {
		return corev1.Container{Name: "istio-proxy", Env: []corev1.EnvVar{{Name: validate.DNSCapture, Value: value}}}
	}
	vmi := b.VMI("web").Obj()
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		want   int32
	}{
		"no proxy":       {func(*corev1.Pod) {}, 0},
		"sidecar":        {func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, proxy("true")) }, 15053},
		"native sidecar": {func(p *corev1.Pod) { p.Spec.InitContainers = append(p.Spec.InitContainers, proxy("true")) }, 15053},
		"switched off":   {func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, proxy("false")) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pod := b.LauncherPod(vmi, "abcde").IP("10.244.0.8").Obj()
			tc.change(pod)
			got, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), natplan.Facts{Pod: pod, VMI: vmi})
			if err != nil || got.Proxy.DNSPort != tc.want {
				t.Errorf("port %d, %v, want %d", got.Proxy.DNSPort, err, tc.want)
			}
		})
	}
}
