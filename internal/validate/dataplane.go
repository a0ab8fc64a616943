// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// dataPlane rejects unknown data planes, settings that the data plane does not
// support, and labels and annotations of Istio that contradict the spec.
func (e *Errors) dataPlane(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	mesh := mvm.Spec.Mesh
	switch mesh.DataPlaneOrDefault() {
	case v1alpha1.DataPlaneSidecar:
	case v1alpha1.DataPlaneAmbient:
		e.ambientMTLS(mvm, path.Child("mtls"))
	default:
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("dataPlane"), "invalid data plane %q: must be Sidecar or Ambient", mesh.DataPlane)
		return
	}
	if mvm.Spec.VirtualMachine.Template != nil {
		e.istioSettings(mvm, field.NewPath("spec", "virtualMachine", "template", "metadata"))
	}
}

// ambientMTLS rejects a mode that ztunnel does not support (Istio,
// pilot/pkg/serviceregistry/ambient, convertPeerAuthentication).
func (e *Errors) ambientMTLS(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	const message = "ztunnel does not support mTLS mode Disable and handles it as Permissive: set Permissive or Strict"
	if mvm.Spec.Mesh.MTLS.Mode == v1alpha1.MTLSModeDisable {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("mode"), message)
	}
	for i, p := range mvm.Spec.Ports {
		if p.MTLS == v1alpha1.MTLSModeDisable {
			e.Reject(v1alpha1.ReasonInvalidSpec, field.NewPath("spec", "ports").Index(i).Child("mtls"), message)
		}
	}
}

// AmbientDNSCapture returns the value of the annotation that enables or disables
// Istio's DNS capture in ambient mode.
func AmbientDNSCapture(mvm *v1alpha1.MeshedVirtualMachine) string {
	return strconv.FormatBool(mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy)
}
