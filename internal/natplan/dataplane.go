// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
)

// AmbientLocalPorts are the TCP ports that ztunnel has in a pod of its node:
// outbound, inbound plain text, tunnel and DNS (ztunnel, src/config.rs). A
// guest cannot offer the others of ProxyLocalPorts either, so that it can be
// moved from one data plane to the other.
var AmbientLocalPorts = []int32{15001, 15006, 15008, 15053}

// setDataPlane completes a configuration with the pod's data plane and the ports
// of its proxy. Sidecar is left out.
func setDataPlane(spec *v1alpha1.PodNATConfigurationSpec, pod *corev1.Pod) {
	if launcherpod.DataPlane(pod) != v1alpha1.DataPlaneAmbient {
		return
	}
	spec.DataPlane = v1alpha1.DataPlaneAmbient
	spec.Proxy.LocalPorts = slices.Clone(AmbientLocalPorts)
	if captured, err := strconv.ParseBool(pod.Annotations[v1alpha1.AnnotationAmbientDNSCapture]); err == nil && captured {
		spec.Proxy.DNSPort = ProxyDNSPort
	}
}

// localPorts are those that a configuration may not lack.
func localPorts(d v1alpha1.DataPlane) []int32 {
	if d == v1alpha1.DataPlaneAmbient {
		return AmbientLocalPorts
	}
	return ProxyLocalPorts
}

// dataPlane refuses what the chosen data plane cannot do, and labels and
// annotations that contradict it.
func (c *checker) dataPlane(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	mesh := mvm.Spec.Mesh
	switch mesh.DataPlaneOrDefault() {
	case v1alpha1.DataPlaneSidecar:
	case v1alpha1.DataPlaneAmbient:
		c.ambientMTLS(mesh.MTLS, path.Child("mtls"))
	default:
		c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("dataPlane"), "%q is neither Sidecar nor Ambient", mesh.DataPlane)
		return
	}
	if template := mvm.Spec.VirtualMachine.Template; template != nil {
		c.dataPlaneTemplate(mvm, template, field.NewPath("spec", "virtualMachine", "template", "metadata"))
	}
}

// ambientMTLS refuses a mode that ztunnel does not know (Istio,
// pilot/pkg/serviceregistry/ambient, convertPeerAuthentication).
func (c *checker) ambientMTLS(m v1alpha1.MTLSSpec, path *field.Path) {
	const message = "ztunnel cannot turn mutual TLS off and takes Disable for Permissive: set Permissive or Strict"
	if m.Mode == v1alpha1.MTLSModeDisable {
		c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("mode"), message)
	}
	for i, p := range m.Ports {
		if p.Mode == v1alpha1.MTLSModeDisable {
			c.refuse(v1alpha1.ReasonInvalidSpec, path.Child("ports").Index(i).Child("mode"), message)
		}
	}
}

func (c *checker) dataPlaneTemplate(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec, path *field.Path) {
	labels, annotations := path.Child("labels"), path.Child("annotations")
	meta := template.ObjectMeta
	ambient := mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient
	mode, hasMode := meta.Labels[v1alpha1.LabelDataPlaneMode]
	switch isAmbient := mode == v1alpha1.DataPlaneModeAmbient; {
	case ambient && hasMode && !isAmbient:
		c.refuse(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelDataPlaneMode),
			"keeps the guest out of ambient mode, which spec.mesh.dataPlane: Ambient asks for: remove the label")
	case !ambient && isAmbient:
		c.refuse(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelDataPlaneMode),
			"asks for ambient mode: set spec.mesh.dataPlane to Ambient, or remove the label")
	}
	for _, inject := range []struct {
		path  *field.Path
		value string
	}{{labels, meta.Labels[v1alpha1.LabelSidecarInject]}, {annotations, meta.Annotations[v1alpha1.LabelSidecarInject]}} {
		switch at := inject.path.Key(v1alpha1.LabelSidecarInject); {
		case ambient && strings.EqualFold(inject.value, "true"):
			c.refuse(v1alpha1.ReasonInvalidSpec, at, "asks for a sidecar, and a pod with one is left out of ambient mode: remove it")
		case !ambient && inject.value != "" && !strings.EqualFold(inject.value, "true"):
			c.refuse(v1alpha1.ReasonInvalidSpec, at, "keeps the guest out of the mesh: remove it, or use a VirtualMachine instead")
		}
	}
	if _, ok := meta.Annotations[v1alpha1.AnnotationAmbientRedirection]; ok {
		c.refuse(v1alpha1.ReasonInvalidSpec, annotations.Key(v1alpha1.AnnotationAmbientRedirection),
			"is set by istio-cni when it has enrolled the pod, and would report an enrolment that has not happened: remove it")
	}
	if !ambient {
		return
	}
	if v := meta.Annotations[v1alpha1.AnnotationAmbientBypassInbound]; strings.EqualFold(v, "true") {
		c.refuse(v1alpha1.ReasonInvalidSpec, annotations.Key(v1alpha1.AnnotationAmbientBypassInbound),
			"keeps inbound connections out of the mesh: remove it, and give ports that shall bypass the mesh the route Direct")
	}
	if v, ok := meta.Annotations[v1alpha1.AnnotationAmbientDNSCapture]; ok && v != AmbientDNSCapture(mvm) {
		c.refuse(v1alpha1.ReasonInvalidSpec, annotations.Key(v1alpha1.AnnotationAmbientDNSCapture),
			"is %q, but follows from spec.capture.dns: remove it, and set spec.capture.dns to Proxy to have DNS captured", v)
	}
}

// AmbientDNSCapture is the value of the annotation that turns Istio's capture of
// DNS on or off in ambient mode.
func AmbientDNSCapture(mvm *v1alpha1.MeshedVirtualMachine) string {
	return strconv.FormatBool(mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy)
}

// dataPlane leaves out the default, so that equal wishes give equal plans.
func dataPlane(d v1alpha1.DataPlane) ruleio.DataPlane {
	if d == v1alpha1.DataPlaneAmbient {
		return ruleio.DataPlaneAmbient
	}
	return ""
}
