// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// IdentitySpec configures the identity of the guest in the mesh.
//
// +kubebuilder:validation:MinProperties=0
type IdentitySpec struct {
	// serviceAccountName is the name of the service account of the guest's pods, in
	// the namespace of the guest. The identity of the guest in the mesh is that of
	// the service account. The guest receives no token of it. The service account
	// must exist. A change takes effect at the next start of the guest. Defaults to
	// "default".
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}
