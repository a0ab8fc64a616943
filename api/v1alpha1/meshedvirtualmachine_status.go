// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MeshedVirtualMachineStatus is the observed state. It reports only state that
// was read back from the cluster or the kernel.
//
// +kubebuilder:validation:MinProperties=1
type MeshedVirtualMachineStatus struct {
	// conditions are the conditions of the object. Ready, Accepted,
	// DependenciesAvailable, VirtualMachineReady, ServiceReady, MeshPolicyApplied,
	// MeshPolicyEffective and NATProgrammed are always present. Reconciling,
	// Stalled, Conflicted, RestartRequired, VirtualMachineAdjusted, StrayGuests,
	// StartNotHeld, ServiceShared and TrafficShifted are present only while they are
	// True. Paused is True while the annotation meshvm.io/paused suspends
	// reconciliation, and False while the annotation has a value without effect.
	// While the object is being deleted,
	// Ready is False, and the other conditions that are always present are Unknown.
	// The reasons are documented in docs/conditions.md.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=24
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the status
	// reflects.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// mtls reports the mutual TLS modes of connections to the guest. The modes in
	// effect are computed from all PeerAuthentications that apply to the guest's
	// pods, including those of other clients. While the spec is not accepted, mtls
	// describes the last accepted spec.
	//
	// +optional
	MTLS MTLSStatus `json:"mtls,omitzero"`

	// ports reports the state of each port of the spec.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Ports []PortStatus `json:"ports,omitempty"`

	// pods are the running virt-launcher pods: one, or two during a migration.
	// If there are more than 32, only the oldest are listed. The list is empty while
	// the object is being deleted.
	//
	// +optional
	// +listType=map
	// +listMapKey=uid
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Pods []PodStatus `json:"pods,omitempty"`

	// omittedPods is the number of running virt-launcher pods that pods does not
	// list.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	OmittedPods int32 `json:"omittedPods,omitempty"`

	// relatedObjects are the objects that the operator created for this object,
	// at most 128.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	RelatedObjects []RelatedObject `json:"relatedObjects,omitempty"`

	// omittedRelatedObjects is the number of objects that relatedObjects does not
	// list.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	OmittedRelatedObjects int32 `json:"omittedRelatedObjects,omitempty"`

	// addresses are the addresses of the Service of the guest: its DNS name inside
	// the cluster, followed by the addresses of its load balancer. They are empty
	// while no Service exists that belongs to this object.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Addresses []Address `json:"addresses,omitempty"`

	// service reports the MeshedVirtualMachines and versions of a shared Service.
	// It is present only while several MeshedVirtualMachines share the Service.
	//
	// +optional
	Service SharedServiceStatus `json:"service,omitzero"`
}

// SharedServiceStatus reports the state of a Service that several
// MeshedVirtualMachines share.
type SharedServiceStatus struct {
	// name is the name of the Service.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// lead is the name of the MeshedVirtualMachine whose settings apply to the
	// Service.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Lead string `json:"lead,omitempty"`

	// members are the names of the MeshedVirtualMachines that share the Service, at
	// most 32, the lead first and then the oldest.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Members []string `json:"members,omitempty"`

	// versions are the versions of the members, sorted by name, at most 32.
	//
	// +optional
	// +listType=map
	// +listMapKey=version
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Versions []ServiceVersionStatus `json:"versions,omitempty"`
}

// ServiceVersionStatus reports the state of a version of a shared Service.
type ServiceVersionStatus struct {
	// version is the version of the running guests, or of the spec if none runs.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Version string `json:"version,omitempty"`

	// declaredPercent is the percentage of the traffic according to the specs.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	DeclaredPercent *int32 `json:"declaredPercent,omitempty"`

	// effectivePercent is the percentage in the routes. It differs from
	// declaredPercent while traffic is shifted away from a version that does not
	// serve.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	EffectivePercent *int32 `json:"effectivePercent,omitempty"`

	// serving reports whether a guest of the version serves: its rules are
	// verified, and its pod is ready and selected by the Service.
	//
	// +required
	Serving *bool `json:"serving,omitempty"` //nolint:kubeapilinter // An observation with two values.
}

// AddressType is the type of an address, as in Gateway API.
//
// +kubebuilder:validation:Enum=Hostname;IPAddress
type AddressType string

const (
	// AddressTypeHostname is a DNS name.
	AddressTypeHostname AddressType = "Hostname"
	// AddressTypeIPAddress is an IPv4 or IPv6 address.
	AddressTypeIPAddress AddressType = "IPAddress"
)

// Address is an address at which clients reach the guest.
type Address struct {
	// type is the type of the address.
	//
	// +required
	Type AddressType `json:"type,omitempty"`

	// value is the address.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Value string `json:"value,omitempty"`
}

// MTLSSource is the source of the effective mutual TLS mode.
//
// +kubebuilder:validation:Enum=Proxy;Policy
type MTLSSource string

const (
	// MTLSSourceProxy is the configuration that the proxies run.
	MTLSSourceProxy MTLSSource = "Proxy"
	// MTLSSourcePolicy are Istio's policies.
	MTLSSourcePolicy MTLSSource = "Policy"
)

// MTLSStatus reports the encryption of connections to the guest.
type MTLSStatus struct {
	// declaredMode is the mode that the spec requests.
	//
	// +required
	DeclaredMode MTLSMode `json:"declaredMode,omitempty"`

	// effectiveMode is the weakest mode in effect of all ports via Mesh,
	// including the modes of individual ports. It is Disable until the policy is
	// applied and the rules have been verified, because without rules traffic can
	// bypass the proxy. A proxy that runs a weaker mode than the policies decides. While
	// the spec is not accepted, it can only become weaker.
	// It is Disable while the object is being deleted.
	//
	// +required
	EffectiveMode MTLSMode `json:"effectiveMode,omitempty"`

	// source is Proxy if effectiveMode is the mode that the guest's proxies run, as the
	// last audit read it. It is Policy if effectiveMode is the mode that Istio's
	// policies request, because a proxy was not read, or because a policy was weakened
	// after the proxies were read. In ambient mode, it is always Policy.
	//
	// +optional
	Source MTLSSource `json:"source,omitempty"`

	// bypassedPorts are the ports whose traffic bypasses the proxy, so that no
	// mutual TLS mode applies. An entry is the name of a port, or PORT/PROTOCOL
	// or FIRST-LAST/PROTOCOL for an entry of capture.inbound.excludePorts.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	BypassedPorts []string `json:"bypassedPorts,omitempty"`
}

// PortStatus reports the state of a port.
type PortStatus struct {
	// name is the name of the port in the spec.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// via reports whether connections pass through the mesh proxy, with the
	// default applied.
	//
	// +required
	Via PortVia `json:"via,omitempty"`
}

// PodRole is the role of a virt-launcher pod.
//
// +kubebuilder:validation:Enum=Active;MigrationSource;MigrationTarget
type PodRole string

const (
	// PodRoleActive is the pod that runs the guest.
	PodRoleActive PodRole = "Active"
	// PodRoleMigrationSource is the source pod of a migration.
	PodRoleMigrationSource PodRole = "MigrationSource"
	// PodRoleMigrationTarget is the target pod of a migration.
	PodRoleMigrationTarget PodRole = "MigrationTarget"
)

// PodStart reports whether the guest of a pod was delayed until the rules of
// the pod were verified.
//
// +kubebuilder:validation:Enum=Held;Released;NotHeld
type PodStart string

const (
	// PodStartHeld means that the guest is delayed and has not executed an
	// instruction in this pod.
	PodStartHeld PodStart = "Held"
	// PodStartReleased means that the guest was delayed until the rules were
	// verified.
	PodStartReleased PodStart = "Released"
	// PodStartNotHeld means that the guest was not delayed, either because
	// spec.start is Immediate or for the reason in the condition StartNotHeld.
	PodStartNotHeld PodStart = "NotHeld"
)

// PodStatus reports the state of a running virt-launcher pod.
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

	// node is the name of the pod's node, if the pod is scheduled.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// role is the role of the pod.
	//
	// +required
	Role PodRole `json:"role,omitempty"`

	// digest is the SHA-256 digest of the table that was read back from the
	// pod, if any.
	//
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// start reports whether the guest of the pod was delayed until the rules of
	// the pod were verified.
	//
	// +optional
	Start PodStart `json:"start,omitempty"`

	// programmed is the status of the condition Programmed of the pod's
	// PodNATConfiguration.
	//
	// +required
	// +kubebuilder:validation:Enum=True;False;Unknown
	Programmed metav1.ConditionStatus `json:"programmed,omitempty"`
}

// RelatedObject identifies an object that the operator created.
type RelatedObject struct {
	// apiVersion is the API group and version of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion,omitempty"`

	// kind is the kind of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind,omitempty"`

	// name is the name of the object. Its namespace is the namespace of the
	// MeshedVirtualMachine.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid is the UID of the object.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
}
