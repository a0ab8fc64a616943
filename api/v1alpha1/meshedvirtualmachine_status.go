// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MeshedVirtualMachineStatus is what was found. It reports what was read back,
// never what was only asked for.
//
// +kubebuilder:validation:MinProperties=1
type MeshedVirtualMachineStatus struct {
	// conditions by type: Ready, Accepted, DependenciesAvailable,
	// VirtualMachineReady, ServiceReady, MeshPolicyApplied and NATProgrammed
	// are always there; Reconciling, Stalled, Conflicted, RestartRequired,
	// StartNotHeld and Paused only while they are True. docs/conditions.md lists the reasons.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the status is
	// about.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// mtls says which mutual TLS mode this object's own policy gives to
	// connections to the guest, once it is in place and the rules that force
	// traffic through the proxy were read back. Policies that others made for
	// the same pods are not looked at.
	//
	// +optional
	MTLS MTLSStatus `json:"mtls,omitzero"`

	// ports says of each port of the spec how it is reached.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Ports []PortStatus `json:"ports,omitempty"`

	// pods are the live virt-launcher pods: one, and two during a migration.
	//
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Pods []PodStatus `json:"pods,omitempty"`

	// relatedObjects are the objects that the operator made for this one.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	RelatedObjects []RelatedObject `json:"relatedObjects,omitempty"`

	// address is the DNS name under which the guest is reached inside the
	// cluster.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Address string `json:"address,omitempty"`
}

// MTLSStatus is what an auditor needs to know about encryption.
type MTLSStatus struct {
	// declaredMode is the mode that the spec asks for.
	//
	// +required
	DeclaredMode MTLSMode `json:"declaredMode,omitempty"`

	// effectiveMode is the weakest mode that a connection to a Mesh port can
	// have, given the modes of single ports. It is Disable until the NAT was
	// read back: without it nothing forces traffic through the proxy.
	//
	// +required
	EffectiveMode MTLSMode `json:"effectiveMode,omitempty"`

	// bypassedPorts are the ports whose traffic does not pass the proxy, so
	// that no mode applies to it: the names of ports, and PORT/PROTOCOL or
	// FIRST-LAST/PROTOCOL for what capture.inbound.excludePorts opens.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=15
	BypassedPorts []string `json:"bypassedPorts,omitempty"`
}

// PortStatus is how one port is reached.
type PortStatus struct {
	// conditions of the port, by type: Accepted and Programmed.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// name is the name of the port in the spec.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name,omitempty"`

	// route is the route in effect, with the default filled in.
	//
	// +required
	Route PortRoute `json:"route,omitempty"`
}

// PodRole is the part a virt-launcher pod plays.
//
// +kubebuilder:validation:Enum=Active;MigrationSource;MigrationTarget
type PodRole string

const (
	// PodRoleActive is the pod that runs the guest.
	PodRoleActive PodRole = "Active"
	// PodRoleMigrationSource is the pod that a migration leaves.
	PodRoleMigrationSource PodRole = "MigrationSource"
	// PodRoleMigrationTarget is the pod that a migration goes to.
	PodRoleMigrationTarget PodRole = "MigrationTarget"
)

// PodStart says whether a pod's guest was held back until its rules were
// verified.
//
// +kubebuilder:validation:Enum=Held;Released;NotHeld
type PodStart string

const (
	// PodStartHeld is held back: no instruction of the guest runs in this pod.
	PodStartHeld PodStart = "Held"
	// PodStartReleased was held back until the rules were verified.
	PodStartReleased PodStart = "Released"
	// PodStartNotHeld was not held back: with start: Immediate, or because
	// nothing in this pod could hold it; the condition StartNotHeld tells.
	PodStartNotHeld PodStart = "NotHeld"
)

// PodStatus is one live virt-launcher pod.
type PodStatus struct {
	// uid is the pod's UID.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`

	// name is the pod's name.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// node is the pod's node, once it has one.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// role is the part that the pod plays.
	//
	// +required
	Role PodRole `json:"role,omitempty"`

	// digest is that of the table as read back from the pod, once there is
	// one.
	//
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// start says whether the pod's guest was held back until its rules were
	// verified.
	//
	// +optional
	Start PodStart `json:"start,omitempty"`

	// programmed is the status of the PodNATConfiguration's Programmed
	// condition.
	//
	// +required
	// +kubebuilder:validation:Enum=True;False;Unknown
	Programmed metav1.ConditionStatus `json:"programmed,omitempty"`
}

// RelatedObject names an object that the operator made.
type RelatedObject struct {
	// apiVersion is the object's group and version.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// kind is the object's kind.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// name is the object's name; its namespace is that of the
	// MeshedVirtualMachine.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid is the object's UID.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
}
