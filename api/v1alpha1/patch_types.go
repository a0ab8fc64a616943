// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

// PatchTarget is a kind of object that patches can change. A patch of VirtualService applies
// to the routes for clients in the mesh.
//
// +kubebuilder:validation:Enum=Service;DestinationRule;VirtualService;PeerAuthentication
type PatchTarget string

// Patch changes an object that the operator creates. It cannot change the name, owners,
// selectors, hosts, gateways, exportTo or ports of the object, the labels and annotations of
// the operator, or make mutual TLS weaker, and routes lead only to Services of the own
// namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.merge) != has(self.json)",message="a patch must set exactly one of merge and json: use a separate entry for each"
type Patch struct {
	// target is the kind of the object. Patches of the objects of a shared Service are
	// taken from the lead.
	//
	// +required
	Target PatchTarget `json:"target,omitempty"`

	// merge is a JSON merge patch (RFC 7396): an object with the fields to set. The
	// value null removes a field, and a list replaces the whole list.
	//
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Merge *runtime.RawExtension `json:"merge,omitempty"`

	// json is a JSON patch (RFC 6902).
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	JSON []PatchOperation `json:"json,omitempty"`
}

// PatchOperation is an operation of a JSON patch.
type PatchOperation struct {
	// op is the operation.
	//
	// +required
	Op PatchOperationType `json:"op,omitempty"`

	// path is the JSON pointer of the field, below spec or in the labels and annotations
	// of metadata.
	//
	// +required
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/(spec|metadata/labels|metadata/annotations)(/.*)?$`
	Path string `json:"path,omitempty"`

	// from is the JSON pointer of the source of the operations move and copy.
	//
	// +optional
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^/(spec|metadata/labels|metadata/annotations)(/.*)?$`
	From string `json:"from,omitempty"`

	// value is the value of the operations add, replace and test.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Value *runtime.RawExtension `json:"value,omitempty"`
}

// PatchOperationType is an operation of a JSON patch.
//
// +kubebuilder:validation:Enum=add;remove;replace;move;copy;test
type PatchOperationType string
