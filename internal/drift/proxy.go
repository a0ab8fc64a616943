// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

// proxyOf returns the state of the proxy in the result of an audit if the status does
// not contain it yet, otherwise nil. A proxy that has not been read before and that the
// kubelet does not report as ready is starting, so an error is expected.
func proxyOf(st *v1alpha1.PodNATConfigurationStatus, r rulejob.AuditResult) *v1alpha1.ProxyStatus {
	read := r.Target.Proxy
	if read == nil || read.Error != "" && st.Proxy.Kind == "" && r.Entry.ProxyStarted == nil || r.FinishedAt.IsZero() {
		return nil
	}
	if st.Proxy.Since != nil && r.FinishedAt.Before(st.Proxy.Since) {
		return nil
	}
	now := convert(read)
	now.ContainerStarted, now.Policies, now.Since = r.Entry.ProxyStarted, r.Entry.Policies, st.Proxy.Since
	if equality.Semantic.DeepEqual(now, st.Proxy) && !expiredSince(st.Proxy, r.FinishedAt) {
		return nil
	}
	now.Since = &r.FinishedAt
	return &now
}

// expiredSince reports whether the certificate of a state expired between the first audit that
// read the state and another one.
func expiredSince(p v1alpha1.ProxyStatus, at metav1.Time) bool {
	return p.CertificateExpiry != nil && p.Since.Before(p.CertificateExpiry) && !at.Before(p.CertificateExpiry)
}

// convert converts the rule-writer's form.
func convert(read *ruleio.ProxyState) v1alpha1.ProxyStatus {
	out := v1alpha1.ProxyStatus{Kind: v1alpha1.ProxyKind(read.Kind), State: v1alpha1.ProxyPhase(read.Phase)}
	if read.Error != "" {
		out.State, out.Message = v1alpha1.ProxyPhaseUnreadable, read.Error
		return out
	}
	out.Version, out.Configuration, out.Identity = read.Version, v1alpha1.ProxyConfiguration(read.Configuration), read.Identity
	if read.CertificateExpiry != 0 {
		out.CertificateExpiry = new(metav1.Unix(read.CertificateExpiry, 0))
	}
	for _, of := range []struct {
		mode  v1alpha1.MTLSMode
		ports []ruleio.PortRange
	}{{v1alpha1.MTLSModeStrict, read.Strict}, {v1alpha1.MTLSModePermissive, read.Permissive}, {v1alpha1.MTLSModeDisable, read.Disabled}} {
		for _, r := range of.ports {
			out.Inbound = append(out.Inbound, v1alpha1.ProxyPort{Port: int32(r.First), Mode: of.mode})
		}
	}
	slices.SortFunc(out.Inbound, func(a, b v1alpha1.ProxyPort) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

// ProxyKnown reports whether the status describes the proxy that is ready in the pod now.
func ProxyKnown(st *v1alpha1.PodNATConfigurationStatus, pod *corev1.Pod) bool {
	started := launcherpod.SidecarReadySince(pod)
	return st.Proxy.Kind != "" && started != nil && started.Equal(st.Proxy.ContainerStarted)
}

// firstReread is the first of the delays between two audits of a proxy that is ready and whose state
// is unknown or differs from Istio's policies. Each delay is twice the previous one,
// until the interval of the regular audits is reached.
const firstReread = 3 * time.Second

// Reread returns the delay after a number of audits.
func Reread(audits int, interval time.Duration) time.Duration {
	d := firstReread
	for range audits {
		if d >= interval {
			break
		}
		d *= 2
	}
	return min(d, interval)
}
