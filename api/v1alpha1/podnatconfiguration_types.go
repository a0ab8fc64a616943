// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodNATConfigurationSpec defines the NAT rules of one virt-launcher pod. The
// operator writes this object. Users do not edit it.
type PodNATConfigurationSpec struct {
	// pod is the virt-launcher pod in the namespace of this object.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="pod is immutable: create a PodNATConfiguration for each pod"
	Pod PodTarget `json:"pod,omitzero"`

	// dataPlane is the kind of mesh proxy of the pod. Defaults to Sidecar.
	//
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`

	// interfaces are the network interfaces of the pod that the rules match.
	//
	// +required
	Interfaces PodInterfaces `json:"interfaces,omitzero"`

	// families are the addresses of the guest's primary interface by address
	// family. Only families that the pod has and its proxy carries are listed.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Families []AddressFamily `json:"families,omitempty"`

	// proxy specifies the ports of the mesh proxy in the pod.
	//
	// +required
	Proxy ProxyPorts `json:"proxy,omitzero"`

	// inbound specifies how connections to the pod are handled.
	//
	// +optional
	Inbound InboundRules `json:"inbound,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// outbound specifies how connections that the guest opens are handled.
	//
	// +optional
	Outbound OutboundRules `json:"outbound,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// probedPorts are the TCP ports that the kubelet probes in the running
	// guest. Each port must be open in inbound. Rules that would block a probe
	// are rejected.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	ProbedPorts []int32 `json:"probedPorts,omitempty"`

	// unmeshed specifies how traffic that the mesh cannot carry is handled.
	// Defaults to Allow.
	//
	// +optional
	Unmeshed UnmeshedPolicy `json:"unmeshed,omitempty"`

	// dns specifies how the guest's DNS queries are handled. Defaults to
	// Direct.
	//
	// +optional
	DNS DNSPolicy `json:"dns,omitempty"`

	// onChange specifies how established flows are handled when a change
	// affects them. Defaults to Keep.
	//
	// +optional
	OnChange ChangePolicy `json:"onChange,omitempty"`

	// gate specifies the loopback ports by which the start gate of the pod
	// detects that the rules were verified. Omitted if the pod has no start
	// gate.
	//
	// +optional
	Gate GatePorts `json:"gate,omitzero"`
}

// GatePorts are ports on the loopback interface of the pod.
type GatePorts struct {
	// port is the port that the gate container connects to.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// answerPort is the port to which the rules redirect this connection once
	// they are verified.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	AnswerPort int32 `json:"answerPort,omitempty"`
}

// PodTarget identifies a pod by name and UID.
type PodTarget struct {
	// name is the name of the pod.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid is the UID of the pod. A different pod with the same name does not
	// match.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
}

// PodInterfaces names network interfaces of the pod.
type PodInterfaces struct {
	// pod is the primary interface of the pod, for example "eth0".
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	Pod string `json:"pod,omitempty"`

	// bridge is the bridge between the pod and the guest, for example
	// "k6t-eth0".
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	Bridge string `json:"bridge,omitempty"`
}

// IPFamily is an address family.
//
// +kubebuilder:validation:Enum=IPv4;IPv6
type IPFamily string

const (
	// IPFamilyIPv4 is IPv4.
	IPFamilyIPv4 IPFamily = "IPv4"
	// IPFamilyIPv6 is IPv6.
	IPFamilyIPv6 IPFamily = "IPv6"
)

// AddressFamily contains the addresses of the link between pod and guest in one
// address family.
type AddressFamily struct {
	// family is the address family.
	//
	// +required
	Family IPFamily `json:"family,omitempty"`

	// guest is the address of the guest behind the masquerade binding.
	//
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Guest string `json:"guest,omitempty"`

	// gateway is the address of the bridge.
	//
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Gateway string `json:"gateway,omitempty"`
}

// PodNATConfigurationStatus is the state that was read back from the pod.
//
// +kubebuilder:validation:MinProperties=1
type PodNATConfigurationStatus struct {
	// conditions are the conditions of the object. Ready, Accepted,
	// TargetResolved and Programmed are always present. ProxyConfigured is present
	// after an audit has read the proxy. Reconciling and Stalled are present only while
	// they are True.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the status
	// reflects.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// applied describes the rules that the rule-writer last read back. It does
	// not change while a newer request is in progress.
	//
	// +optional
	Applied AppliedRules `json:"applied,omitzero"`

	// job is the name of the current rule-writer Job in the operator's
	// namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Job string `json:"job,omitempty"`

	// attempts is the number of Jobs that have failed since the last success.
	// Omitted if none failed.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempts int32 `json:"attempts,omitempty"`

	// repairs reports how often missing or changed rules were found. Omitted if
	// that never happened.
	//
	// +optional
	Repairs RepairsStatus `json:"repairs,omitzero"`

	// proxy is the state of the pod's sidecar, as of the last audit that found it
	// changed. Omitted until an audit has read it, and in ambient mode.
	//
	// +optional
	Proxy ProxyStatus `json:"proxy,omitzero"`

	// counters are totals over all tables that the pod has had, as of the last
	// audit that found them changed. Traffic between the last audit of a table
	// and its replacement is not included.
	//
	// +optional
	Counters TrafficCounters `json:"counters,omitzero"`
}

// AppliedRules describes the rules that the rule-writer read back.
type AppliedRules struct {
	// requestDigest is the SHA-256 digest of the request that was applied.
	//
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	RequestDigest string `json:"requestDigest,omitempty"`

	// digest is the SHA-256 digest of the table that was read back.
	//
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// netnsInode is the inode number of the pod's network namespace. A recreated
	// sandbox has a new network namespace without rules.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	NetnsInode int64 `json:"netnsInode,omitempty"`

	// rules is the number of rules that were read back.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	Rules int32 `json:"rules,omitempty"`

	// durationMicroseconds is the time in microseconds that it took to write the
	// rules and read them back.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	DurationMicroseconds int64 `json:"durationMicroseconds,omitempty"`

	// time is the time at which the rule-writer finished.
	//
	// +required
	Time *metav1.Time `json:"time,omitempty"`

	// node is the name of the pod's node.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// bootID is the boot ID of the node at the time of writing.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// sandboxTime is the time at which the kubelet reported the network
	// namespace that the rules were written to.
	//
	// +optional
	SandboxTime *metav1.Time `json:"sandboxTime,omitempty"`

	// repair is the value of repairs.count for which the rules were written.
	// Omitted before the first repair.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Repair int32 `json:"repair,omitempty"`

	// counters are the counters of this table. They are zero when the table is
	// written.
	//
	// +optional
	Counters TrafficCounters `json:"counters,omitzero"`
}

// PodNATConfiguration defines the NAT rules of one virt-launcher pod and
// reports the rules that were read back from the kernel.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=podnat
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pod",type=string,JSONPath=`.spec.pod.name`
// +kubebuilder:printcolumn:name="Rules",type=integer,JSONPath=`.status.applied.rules`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Repairs",type=integer,priority=1,JSONPath=`.status.repairs.count`
// +kubebuilder:printcolumn:name="Captured",type=integer,priority=1,JSONPath=`.status.counters.captured`
// +kubebuilder:printcolumn:name="Direct",type=integer,priority=1,JSONPath=`.status.counters.direct`
// +kubebuilder:printcolumn:name="Dropped",type=integer,priority=1,JSONPath=`.status.counters.dropped`
// +kubebuilder:printcolumn:name="Digest",type=string,priority=1,JSONPath=`.status.applied.digest`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type PodNATConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired state.
	//
	// +required
	Spec PodNATConfigurationSpec `json:"spec,omitzero"`

	// status is the observed state. Ready is Unknown until the operator has
	// reconciled the object.
	//
	// +optional
	// +default={"conditions":[{"type":"Ready","status":"Unknown","reason":"Pending","message":"waiting for the operator","lastTransitionTime":"1970-01-01T00:00:00Z"}]}
	Status PodNATConfigurationStatus `json:"status,omitzero"`
}

// PodNATConfigurationList is a list of PodNATConfiguration.
//
// +kubebuilder:object:root=true
type PodNATConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []PodNATConfiguration `json:"items"`
}
