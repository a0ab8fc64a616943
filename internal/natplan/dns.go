// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
)

const (
	// ProxyConfigAnnotation holds Istio's ProxyConfig of one pod.
	ProxyConfigAnnotation = "proxy.istio.io/config"
	// DNSCapture is the variable in its proxyMetadata that turns on DNS
	// capture.
	DNSCapture = "ISTIO_META_DNS_CAPTURE"
	// ProxyDNSPort is the port of the sidecar's resolver (Istio,
	// pkg/config/constants, DefaultDNSProxyAddr).
	ProxyDNSPort int32 = 15053
)

// dnsPort is the port of the resolver of the pod's proxy, 0 if Istio does not
// capture the pod's DNS.
func dnsPort(pod *corev1.Pod) int32 {
	if launcherpod.SidecarEnvTrue(pod, DNSCapture) {
		return ProxyDNSPort
	}
	return 0
}

// dns refuses what would ask a resolver that is not there, and an annotation
// that contradicts the spec.
func (c *checker) dns(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	d := mvm.Spec.Capture.DNS
	if d != "" && d != v1alpha1.DNSPolicyDirect && d != v1alpha1.DNSPolicyProxy {
		c.refuse(v1alpha1.ReasonInvalidSpec, path, "%q is neither Direct nor Proxy", d)
	}
	template := mvm.Spec.VirtualMachine.Template
	if d != v1alpha1.DNSPolicyProxy || template == nil || mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient {
		return
	}
	if own := template.ObjectMeta.Annotations[ProxyConfigAnnotation]; own != "" && !strings.Contains(own, DNSCapture) {
		c.refuse(v1alpha1.ReasonInvalidSpec,
			field.NewPath("spec", "virtualMachine", "template", "metadata", "annotations").Key(ProxyConfigAnnotation),
			"lacks %s under proxyMetadata, which spec.capture.dns: Proxy needs: add it, or remove the annotation", DNSCapture)
	}
}

// planDNS is the way of DNS in one pod.
//
// A resolver on ::1 is out of a guest's reach, because Linux takes nothing for
// ::1 from a link: over IPv6 alone there can be no DNSPolicyProxy.
func planDNS(spec v1alpha1.PodNATConfigurationSpec, planned []ruleio.Family, path *field.Path) (*ruleio.DNS, error) {
	out := &ruleio.DNS{Mode: ruleio.DNSDirect}
	switch port := spec.Proxy.DNSPort; {
	case port < 0 || port > maxPort:
		return nil, invalidf(v1alpha1.ReasonInvalidPort, path.Child("proxy", "dnsPort").String(), "%d is no port", port)
	case port > 0:
		out.CapturePort = uint16(port)
	}
	if spec.DNS == v1alpha1.DNSPolicyProxy {
		if out.CapturePort == 0 {
			return nil, invalidf(v1alpha1.ReasonInvalidSpec, path.Child("dns").String(),
				"the proxy of this pod started without DNS capture: restart the virtual machine, or set capture.dns to Direct")
		}
		if len(planned) == 1 && planned[0].Name == ruleio.FamilyIPv6 {
			return nil, invalidf(v1alpha1.ReasonInvalidSpec, path.Child("dns").String(),
				"the mesh of this pod has IPv6 only, and over IPv6 a guest cannot reach the proxy's resolver: set capture.dns to Direct")
		}
		out.Mode = ruleio.DNSProxy
	}
	return out, nil
}
