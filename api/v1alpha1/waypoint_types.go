// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "cmp"

// WaypointSpec is a waypoint of Istio's ambient mode, a proxy through which ztunnel
// sends the connections to the Service of the guest.
type WaypointSpec struct {
	// name is the name of the Gateway (gateway.networking.k8s.io) with the class
	// istio-waypoint. Its service account must have the same name, which is
	// Istio's default.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'none'",message="mesh.waypoint.name must not be \"none\", which Istio reads as no waypoint: remove mesh.waypoint, or rename the Gateway"
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the Gateway, whose listeners must allow the
	// namespace of the guest (allowedRoutes). Defaults to the namespace of the guest.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// IsSet reports whether the spec names a waypoint.
func (w WaypointSpec) IsSet() bool { return w != WaypointSpec{} }

// WaypointNamespace returns the namespace of the waypoint.
func (m *MeshedVirtualMachine) WaypointNamespace() string {
	return cmp.Or(m.Spec.Mesh.Waypoint.Namespace, m.Namespace)
}
