// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func quantities(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// TestGateUnderLimits creates virt-launcher pods in namespaces with a LimitRange or a
// ResourceQuota. The API server calls the webhook and then its plugins LimitRanger and
// ResourceQuota, which reject a pod with a container that violates them.
func TestGateUnderLimits(t *testing.T) {
	s := start(t)
	s.serveGate()
	limited := corev1.ResourceRequirements{Requests: quantities("100m", "128Mi"), Limits: quantities("200m", "256Mi")}
	tests := map[string]struct {
		limits    *corev1.LimitRangeItem
		quota     corev1.ResourceList
		resources corev1.ResourceRequirements
	}{
		"no limits": {},
		"ratio 4": {limits: &corev1.LimitRangeItem{
			MaxLimitRequestRatio: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("4")},
			Default:              quantities("400m", "512Mi"), DefaultRequest: quantities("100m", "128Mi"),
		}},
		"ratio 1": {limits: &corev1.LimitRangeItem{
			MaxLimitRequestRatio: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1")},
			Default:              quantities("400m", "512Mi"), DefaultRequest: quantities("400m", "512Mi"),
		}},
		"ratio of memory only": {limits: &corev1.LimitRangeItem{
			MaxLimitRequestRatio: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2")},
			Default:              corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
			DefaultRequest:       corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
		}},
		"minimum equal to the default": {limits: &corev1.LimitRangeItem{Min: quantities("10m", "32Mi")}},
		"minimum and ratio": {limits: &corev1.LimitRangeItem{
			Min: quantities("10m", "32Mi"), MaxLimitRequestRatio: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
			Default: quantities("400m", "512Mi"), DefaultRequest: quantities("100m", "128Mi"),
		}},
		"maximum":            {limits: &corev1.LimitRangeItem{Max: quantities("1", "1Gi")}},
		"quota of requests":  {quota: corev1.ResourceList{corev1.ResourceRequestsCPU: resource.MustParse("1"), corev1.ResourceRequestsMemory: resource.MustParse("1Gi")}, resources: limited},
		"quota of limits":    {quota: corev1.ResourceList{corev1.ResourceLimitsCPU: resource.MustParse("1"), corev1.ResourceLimitsMemory: resource.MustParse("1Gi")}, resources: limited},
		"quota and no limit": {quota: corev1.ResourceList{corev1.ResourceRequestsCPU: resource.MustParse("1"), corev1.ResourceLimitsMemory: resource.MustParse("1Gi")}, resources: corev1.ResourceRequirements{Requests: quantities("100m", "128Mi"), Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}}},
	}
	for name, tc := range tests {
		for _, gate := range []string{v1alpha1.StartGateContainer, v1alpha1.StartGateWatch} {
			t.Run(name+", "+gate, func(t *testing.T) {
				ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "limits-"}}
				if err := s.Create(s.Context(), ns); err != nil {
					t.Fatal(err)
				}
				if tc.limits != nil {
					tc.limits.Type = corev1.LimitTypeContainer
					l := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "limits"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{*tc.limits}}}
					if err := s.Create(s.Context(), l); err != nil {
						t.Fatal(err)
					}
				}
				if tc.quota != nil {
					q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "quota"}, Spec: corev1.ResourceQuotaSpec{Hard: tc.quota}}
					if err := s.Create(s.Context(), q); err != nil {
						t.Fatal(err)
					}
					// The quota controller, which does not run here, sets this.
					q.Status = corev1.ResourceQuotaStatus{Hard: tc.quota, Used: corev1.ResourceList{}}
					for r := range tc.quota {
						q.Status.Used[r] = resource.MustParse("0")
					}
					if err := s.Status().Update(s.Context(), q); err != nil {
						t.Fatal(err)
					}
				}
				pod := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, GenerateName: "virt-launcher-web-", Labels: map[string]string{
						kubevirtv1.AppLabel: "virt-launcher", v1alpha1.LabelStartGate: gate,
					}},
					Spec: corev1.PodSpec{Containers: []corev1.Container{
						{Name: "compute", Image: "localhost/launcher", Resources: tc.resources},
						{Name: "istio-proxy", Image: "localhost/proxyv2", Resources: tc.resources},
					}},
				}
				// The plugins read limits and quotas from a cache. A pod that violates
				// them is rejected once the cache contains them.
				violation := pod.DeepCopy()
				violation.Labels = nil
				violation.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: quantities("1m", "1Mi"), Limits: quantities("2", "2Gi")}
				if tc.quota != nil {
					violation.Spec.Containers[0].Resources.Requests = quantities("2", "2Gi")
				}
				if tc.limits != nil || tc.quota != nil {
					s.eventually("the limits apply", func() error {
						if err := s.Create(s.Context(), violation.DeepCopy(), client.DryRunAll); err == nil {
							return errors.New("a pod that violates the limits was accepted")
						}
						return nil
					})
				}
				if err := s.Create(s.Context(), pod); err != nil {
					t.Fatalf("the pod was rejected: %v", err)
				}
				if !startgate.HasWatch(pod) {
					t.Error("the pod has no gate")
				}
			})
		}
	}
}
