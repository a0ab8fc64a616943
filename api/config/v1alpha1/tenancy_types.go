// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Tenancy limits the effect of MeshedVirtualMachines on other namespaces.
type Tenancy struct {
	// gateways specifies the Istio Gateways that mesh.routes.gateways of a
	// MeshedVirtualMachine may name.
	//
	// +optional
	Gateways Gateways `json:"gateways,omitzero"`

	// patches specifies whether MeshedVirtualMachines may contain patches. Patches can set
	// fields of Services and Istio objects that the operator does not know. Defaults to
	// Disabled.
	//
	// +optional
	Patches Mode `json:"patches,omitempty"`

	// adoption specifies who may let a MeshedVirtualMachine adopt an existing
	// VirtualMachine. Annotation requires the annotation meshvm.io/adopted-by on the
	// VirtualMachine, with the name of the MeshedVirtualMachine. AdmissionPolicy does
	// not require it, because the ValidatingAdmissionPolicy meshvm-adoption permits
	// the adoption only to users who may update the VirtualMachine. Without this policy,
	// AdmissionPolicy permits the adoption to every user who can create
	// MeshedVirtualMachines. Defaults to Annotation.
	//
	// +optional
	Adoption AdoptionMode `json:"adoption,omitempty"`
}

// AdoptionMode specifies who may let a MeshedVirtualMachine adopt a VirtualMachine.
//
// +kubebuilder:validation:Enum=AdmissionPolicy;Annotation
type AdoptionMode string

const (
	// AdoptionByAnnotation permits the adoption to the users who annotated the VirtualMachine.
	AdoptionByAnnotation AdoptionMode = "Annotation"
	// AdoptionByPolicy relies on the ValidatingAdmissionPolicy meshvm-adoption.
	AdoptionByPolicy AdoptionMode = "AdmissionPolicy"
)

// Gateways specifies permitted Gateways.
type Gateways struct {
	// mode specifies the permitted Gateways. SameNamespace permits those in the
	// namespace of the MeshedVirtualMachine. Listed also permits those in allowed. Any
	// permits all Gateways. Every user who can create MeshedVirtualMachines can then
	// receive requests for the hosts of every Gateway. Defaults to SameNamespace.
	//
	// +optional
	Mode GatewayMode `json:"mode,omitempty"`

	// allowed lists the Gateways of mode Listed as NAMESPACE/NAME, or NAMESPACE/* for all
	// of a namespace. It must not be set for other modes.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=127
	Allowed []string `json:"allowed,omitempty"`
}

// GatewayMode specifies permitted Gateways.
//
// +kubebuilder:validation:Enum=SameNamespace;Listed;Any
type GatewayMode string

const (
	// GatewaysSameNamespace permits Gateways in the own namespace.
	GatewaysSameNamespace GatewayMode = "SameNamespace"
	// GatewaysListed also permits listed Gateways.
	GatewaysListed GatewayMode = "Listed"
	// GatewaysAny permits all Gateways.
	GatewaysAny GatewayMode = "Any"
)
