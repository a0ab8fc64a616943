// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AllowedClient permits the clients of a service account or of a namespace to
// connect to ports of the guest. Exactly one of serviceAccount and namespace
// must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccount) != has(self.namespace)",message="an entry of mesh.allow identifies its clients by one field: set either serviceAccount or namespace, and add an entry for the other"
type AllowedClient struct {
	// serviceAccount is the service account of the clients as NAMESPACE/NAME, or
	// as NAME for a service account in the namespace of the guest. KubeVirt runs
	// all virtual machines with the service account "default".
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// namespace is the namespace of the clients. It permits all service accounts
	// of the namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`

	// ports are names of ports in spec.ports. They must be TCP ports via Mesh.
	// Ports with the same targetPort are permitted together, because the proxy
	// of the guest distinguishes connections by targetPort. Defaults to all
	// ports via Mesh.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Ports []string `json:"ports,omitempty"`
}
