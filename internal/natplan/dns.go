// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// dnsPort returns the port of the resolver of the pod's sidecar, 0 if Istio does
// not capture the pod's DNS.
func dnsPort(pod *corev1.Pod) int32 {
	if launcherpod.SidecarEnvTrue(pod, validate.DNSCapture) {
		return validate.ProxyDNSPort
	}
	return 0
}

// planDNS plans how the guest's DNS queries are handled in one pod.
//
// A guest cannot reach a resolver on ::1, because Linux does not deliver packets
// from a link to ::1. DNSPolicyProxy is therefore rejected if the mesh carries
// IPv6 only.
func planDNS(spec v1alpha1.PodNATConfigurationSpec, planned []ruleio.Family, path *field.Path) (*ruleio.DNS, error) {
	out := &ruleio.DNS{Mode: ruleio.DNSDirect}
	switch port := spec.Proxy.DNSPort; {
	case port < 0 || port > validate.MaxPort:
		return nil, validate.Invalidf(v1alpha1.ReasonInvalidPort, path.Child("proxy", "dnsPort"),
			"invalid port %d: must be between 1 and %d, or 0 for no DNS capture", port, validate.MaxPort)
	case port > 0:
		out.CapturePort = uint16(port)
	}
	if spec.DNS == v1alpha1.DNSPolicyProxy {
		if out.CapturePort == 0 {
			return nil, validate.Invalidf(v1alpha1.ReasonInvalidSpec, path.Child("dns"),
				"the proxy of this pod started without DNS capture: restart the virtual machine, or set capture.dns to Direct")
		}
		if len(planned) == 1 && planned[0].Name == ruleio.FamilyIPv6 {
			return nil, validate.Invalidf(v1alpha1.ReasonInvalidSpec, path.Child("dns"),
				"the mesh of this pod carries IPv6 only, and a guest cannot reach the proxy's resolver over IPv6: set capture.dns to Direct")
		}
		out.Mode = ruleio.DNSProxy
	}
	return out, nil
}
