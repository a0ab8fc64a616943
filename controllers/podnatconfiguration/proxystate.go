// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/rulejob"
)

// proxyConfigured compares the state of the proxy that the last audit read with Istio's
// policies. The condition is absent before the first audit.
func (s *scope) proxyConfigured() (c conditions.Condition, ok bool) {
	const t = v1alpha1.ConditionProxyConfigured
	p := s.config.Status.Proxy
	if p.Kind == "" || s.pod == nil {
		return c, false
	}
	if launcherpod.SidecarReadySince(s.pod) == nil {
		return conditions.False(t, v1alpha1.ReasonProxyNotLive, "the kubelet does not report the container istio-proxy as ready"), true
	}
	if !drift.ProxyKnown(&s.config.Status, s.pod) {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "the proxy was restarted: waiting for the next audit to read it"), true
	}
	if p.Policies != rulejob.PoliciesOf(s.config) {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "the ports or Istio's policies changed: waiting for the next audit to read the proxy"), true
	}
	differs := s.proxyDiffers()
	identity := "/ns/" + s.pod.Namespace + "/sa/" + cmp.Or(s.pod.Spec.ServiceAccountName, "default")
	switch {
	case p.State == v1alpha1.ProxyPhaseUnreadable:
		return conditions.False(t, v1alpha1.ReasonProxyUnreadable, "the last audit could not read the proxy: "+p.Message), true
	case p.State != v1alpha1.ProxyPhaseLive:
		return conditions.False(t, v1alpha1.ReasonProxyNotLive, "the state of the proxy is "+string(p.State)), true
	case p.Configuration == v1alpha1.ProxyConfigurationRejected:
		return conditions.False(t, v1alpha1.ReasonProxyRejected,
			"the proxy rejected the last configuration of a listener and runs an earlier one: the log of container istio-proxy contains the reason; check the EnvoyFilters of the namespace"), true
	case differs != "":
		return conditions.False(t, v1alpha1.ReasonProxyDiffers, differs), true
	case !strings.HasSuffix(p.Identity, identity):
		return conditions.False(t, v1alpha1.ReasonCertificateInvalid, fmt.Sprintf("the identity of the proxy is %q instead of an identity that ends with %s", p.Identity, identity)), true
	case p.CertificateExpiry != nil && p.Since.Before(p.CertificateExpiry) && !s.now.Before(p.CertificateExpiry.Time):
		// The certificate was valid when it was read, and istiod has probably renewed it.
		return conditions.Unknown(t, v1alpha1.ReasonPending, "the certificate that the last audit read has expired: waiting for the next audit to read the proxy"), true
	case p.CertificateExpiry == nil || !s.now.Before(p.CertificateExpiry.Time):
		return conditions.False(t, v1alpha1.ReasonCertificateInvalid, "the certificate of the proxy has expired: check that the proxy can reach istiod"), true
	case p.Configuration == v1alpha1.ProxyConfigurationStale:
		return conditions.False(t, v1alpha1.ReasonProxyStale, "the proxy is not connected to istiod and continues with its last configuration"), true
	default:
		return conditions.True(t, v1alpha1.ReasonConfigured, "the proxy runs the mutual TLS modes of Istio's policies"), true
	}
}

// proxyDiffers describes the first port whose mode in the proxy is not the mode that
// Istio's policies request, or returns an empty string.
func (s *scope) proxyDiffers() string {
	modes := map[int32]v1alpha1.MTLSMode{}
	for _, p := range s.config.Status.Proxy.Inbound {
		modes[p.Port] = p.Mode
	}
	wanted := meshpolicy.ParseModes(s.config.Annotations[v1alpha1.AnnotationMutualTLS])
	for _, port := range slices.Sorted(maps.Keys(wanted)) {
		switch got := modes[port]; got {
		case wanted[port]:
		case "":
			return fmt.Sprintf("the proxy accepts no connections to port %d, and Istio's policies request mutual TLS mode %s", port, wanted[port])
		default:
			return fmt.Sprintf("the proxy runs mutual TLS mode %s for port %d, and Istio's policies request %s: Istio has not updated the proxy yet, or another object such as an EnvoyFilter changes its listener", got, port, wanted[port])
		}
	}
	return ""
}

// certificateExpires returns the time until the proxy's certificate expires, or 0 if no
// certificate is known or it has expired.
func (s *scope) certificateExpires() time.Duration {
	if at := s.config.Status.Proxy.CertificateExpiry; at != nil {
		return max(at.Sub(s.now), 0)
	}
	return 0
}
