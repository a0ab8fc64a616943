// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// dataPlane rejects unknown data planes, settings that the data plane does not
// support, and labels and annotations that contradict it.
func (e *Errors) dataPlane(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	mesh := mvm.Spec.Mesh
	switch mesh.DataPlaneOrDefault() {
	case v1alpha1.DataPlaneSidecar:
	case v1alpha1.DataPlaneAmbient:
		e.ambientMTLS(mesh.MTLS, path.Child("mtls"))
	default:
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("dataPlane"), "invalid data plane %q: must be Sidecar or Ambient", mesh.DataPlane)
		return
	}
	if template := mvm.Spec.VirtualMachine.Template; template != nil {
		e.dataPlaneTemplate(mvm, template, field.NewPath("spec", "virtualMachine", "template", "metadata"))
	}
}

// ambientMTLS rejects a mode that ztunnel does not support (Istio,
// pilot/pkg/serviceregistry/ambient, convertPeerAuthentication).
func (e *Errors) ambientMTLS(m v1alpha1.MTLSSpec, path *field.Path) {
	const message = "ztunnel does not support mTLS mode Disable and handles it as Permissive: set Permissive or Strict"
	if m.Mode == v1alpha1.MTLSModeDisable {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("mode"), message)
	}
	for i, p := range m.Ports {
		if p.Mode == v1alpha1.MTLSModeDisable {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("ports").Index(i).Child("mode"), message)
		}
	}
}

func (e *Errors) dataPlaneTemplate(mvm *v1alpha1.MeshedVirtualMachine, template *kubevirtv1.VirtualMachineInstanceTemplateSpec, path *field.Path) {
	labels, annotations := path.Child("labels"), path.Child("annotations")
	meta := template.ObjectMeta
	ambient := mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient
	mode, hasMode := meta.Labels[v1alpha1.LabelDataPlaneMode]
	switch isAmbient := mode == v1alpha1.DataPlaneModeAmbient; {
	case ambient && hasMode && !isAmbient:
		e.Reject(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelDataPlaneMode),
			"excludes the guest from ambient mode, but spec.mesh.dataPlane is Ambient: remove the label")
	case !ambient && isAmbient:
		e.Reject(v1alpha1.ReasonInvalidSpec, labels.Key(v1alpha1.LabelDataPlaneMode),
			"enables ambient mode, but spec.mesh.dataPlane is not Ambient: set spec.mesh.dataPlane to Ambient, or remove the label")
	}
	for _, inject := range []struct {
		path  *field.Path
		value string
	}{{labels, meta.Labels[v1alpha1.LabelSidecarInject]}, {annotations, meta.Annotations[v1alpha1.LabelSidecarInject]}} {
		switch at := inject.path.Key(v1alpha1.LabelSidecarInject); {
		case ambient && strings.EqualFold(inject.value, "true"):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "requests a sidecar, but Istio does not enroll pods with a sidecar in ambient mode: remove it")
		case !ambient && inject.value != "" && !strings.EqualFold(inject.value, "true"):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "excludes the guest from the mesh: remove it, or create a VirtualMachine instead")
		}
	}
	if _, ok := meta.Annotations[v1alpha1.AnnotationAmbientRedirection]; ok {
		e.Reject(v1alpha1.ReasonInvalidSpec, annotations.Key(v1alpha1.AnnotationAmbientRedirection),
			"only istio-cni may set this annotation, which reports that it has enrolled the pod: remove it")
	}
	if ambient {
		e.ambientAnnotations(mvm, meta.Annotations, annotations)
	}
}

// ambientAnnotations rejects annotations for ambient mode that contradict the
// spec.
func (e *Errors) ambientAnnotations(mvm *v1alpha1.MeshedVirtualMachine, values map[string]string, path *field.Path) {
	if v := values[v1alpha1.AnnotationAmbientBypassInbound]; strings.EqualFold(v, "true") {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Key(v1alpha1.AnnotationAmbientBypassInbound),
			"excludes all inbound connections from the mesh: remove it, and set the route of ports that bypass the mesh to Direct")
	}
	if v, ok := values[v1alpha1.AnnotationAmbientDNSCapture]; ok && v != AmbientDNSCapture(mvm) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Key(v1alpha1.AnnotationAmbientDNSCapture),
			"the value %q contradicts spec.capture.dns: remove the annotation, and set spec.capture.dns to Proxy to capture DNS", v)
	}
}

// AmbientDNSCapture returns the value of the annotation that enables or disables
// Istio's DNS capture in ambient mode.
func AmbientDNSCapture(mvm *v1alpha1.MeshedVirtualMachine) string {
	return strconv.FormatBool(mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy)
}
