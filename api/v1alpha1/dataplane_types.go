// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// DataPlane is the kind of mesh proxy in front of the guest.
//
// +kubebuilder:validation:Enum=Sidecar;Ambient
type DataPlane string

const (
	// DataPlaneSidecar is a proxy of the pod's own, a container in it.
	DataPlaneSidecar DataPlane = "Sidecar"
	// DataPlaneAmbient is Istio's ztunnel, a proxy of the node, which reaches
	// into the pod's network namespace.
	DataPlaneAmbient DataPlane = "Ambient"
)

// DataPlaneOrDefault is the data plane, Sidecar when left out.
func (m MeshSpec) DataPlaneOrDefault() DataPlane {
	if m.DataPlane == "" {
		return DataPlaneSidecar
	}
	return m.DataPlane
}
