// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// DataPlane is the kind of mesh proxy in front of the guest.
//
// +kubebuilder:validation:Enum=Sidecar;Ambient
type DataPlane string

const (
	// DataPlaneSidecar is a proxy container in the pod.
	DataPlaneSidecar DataPlane = "Sidecar"
	// DataPlaneAmbient is Istio's ztunnel, a proxy on the node with sockets in
	// the pod's network namespace.
	DataPlaneAmbient DataPlane = "Ambient"
)

// DataPlaneOrDefault returns the data plane, by default Sidecar.
func (m MeshSpec) DataPlaneOrDefault() DataPlane {
	if m.DataPlane == "" {
		return DataPlaneSidecar
	}
	return m.DataPlane
}
