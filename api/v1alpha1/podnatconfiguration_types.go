// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodNATConfigurationSpec is the NAT that one virt-launcher pod has to have.
// The operator writes it; people read it.
type PodNATConfigurationSpec struct {
	// pod is the virt-launcher pod, in the namespace of this object.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="pod is immutable: a new pod gets a new PodNATConfiguration"
	Pod PodTarget `json:"pod,omitzero"`

	// dataPlane is the kind of mesh proxy that the pod was made with: Sidecar
	// when left out.
	//
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`

	// interfaces names the pod's interfaces that the rules are about.
	//
	// +required
	Interfaces PodInterfaces `json:"interfaces,omitzero"`

	// families are the addresses of the guest's primary interface, by address
	// family: those that the pod has and its proxy carries.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Families []AddressFamily `json:"families,omitempty"`

	// proxy describes the mesh proxy in the pod.
	//
	// +required
	Proxy ProxyPorts `json:"proxy,omitzero"`

	// inbound says what becomes of connections to the pod.
	//
	// +optional
	Inbound InboundPlan `json:"inbound,omitzero"`

	// outbound says what becomes of connections that the guest opens.
	//
	// +optional
	Outbound OutboundPlan `json:"outbound,omitzero"`

	// probedPorts are TCP ports at which the kubelet probes the guest, by the
	// probes that it was started with. Each has to be open by inbound: rules that
	// would cut off a probe are refused.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	ProbedPorts []int32 `json:"probedPorts,omitempty"`

	// unmeshed says what becomes of traffic that the mesh cannot carry: Allow
	// when left out.
	//
	// +optional
	Unmeshed UnmeshedPolicy `json:"unmeshed,omitempty"`

	// dns says which way the guest's DNS takes: Direct when left out.
	//
	// +optional
	DNS DNSPolicy `json:"dns,omitempty"`

	// onChange says what becomes of established flows that a change affects:
	// Keep when left out.
	//
	// +optional
	OnChange ChangePolicy `json:"onChange,omitempty"`

	// gate describes the rule by which a container of the pod, which holds back
	// the guest, sees that the rules were verified; left out when the pod has no
	// such container.
	//
	// +optional
	Gate GatePorts `json:"gate,omitzero"`
}

// GatePorts are ports on loopback of the pod's network namespace.
type GatePorts struct {
	// port is where the container connects to.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// answerPort is where its connection arrives once the rules were verified.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	AnswerPort int32 `json:"answerPort,omitempty"`
}

// PodTarget names one pod for its whole life.
type PodTarget struct {
	// name is the pod's name.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid is the pod's UID: another pod of the same name is not meant.
	//
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
}

// PodInterfaces names interfaces in the pod's network namespace.
type PodInterfaces struct {
	// pod is the pod's primary interface, for example "eth0".
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_.-]+$`
	Pod string `json:"pod,omitempty"`

	// bridge is KubeVirt's bridge to the guest, for example "k6t-eth0".
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

// AddressFamily holds the guest's link addresses of one family.
type AddressFamily struct {
	// family is the address family.
	//
	// +required
	Family IPFamily `json:"family,omitempty"`

	// guest is the guest's address behind the masquerade binding.
	//
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Guest string `json:"guest,omitempty"`

	// gateway is the bridge's address on the guest's link.
	//
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Gateway string `json:"gateway,omitempty"`
}

// ProxyPorts describes the mesh proxy's ports.
type ProxyPorts struct {
	// inboundPort takes redirected inbound TCP; Istio's is 15006.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	InboundPort int32 `json:"inboundPort,omitempty"`

	// outboundPort takes the guest's redirected TCP; Istio's is 15001.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	OutboundPort int32 `json:"outboundPort,omitempty"`

	// localPorts are TCP ports that the proxy serves itself and that never
	// reach the guest.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	LocalPorts []int32 `json:"localPorts,omitempty"`

	// dnsPort is the port of the proxy's resolver on loopback, when Istio
	// captures the pod's DNS; left out when it does not.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	DNSPort int32 `json:"dnsPort,omitempty"`
}

// PodNATConfigurationStatus is what was read back from the pod.
//
// +kubebuilder:validation:MinProperties=1
type PodNATConfigurationStatus struct {
	// conditions by type: Ready, Accepted, TargetResolved and Programmed are
	// always there; Reconciling and Stalled only while they are True.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that the status is
	// about.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// applied is what the rule-writer last read back; it stays while a newer
	// request is under way.
	//
	// +optional
	Applied AppliedRules `json:"applied,omitzero"`

	// job is the name of the rule-writer Job under way, in the operator's
	// namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Job string `json:"job,omitempty"`

	// attempts counts the Jobs that failed since the last success; it is left
	// out when none did.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempts int32 `json:"attempts,omitempty"`

	// repairs tells of rules that were found lost or changed; it is left out
	// when that never happened.
	//
	// +optional
	Repairs RepairsStatus `json:"repairs,omitzero"`

	// counters are totals over all tables that the pod has had, as of the last
	// audit that found them changed. What a table counts between the last
	// audit and its replacement is not in them.
	//
	// +optional
	Counters TrafficCounters `json:"counters,omitzero"`
}

// AppliedRules is what the rule-writer read back.
type AppliedRules struct {
	// requestDigest is the SHA-256 of the request that was carried out.
	//
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	RequestDigest string `json:"requestDigest,omitempty"`

	// digest is the SHA-256 of the table as read back.
	//
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// netnsInode identifies the pod's network namespace; a recreated sandbox
	// has another one, without rules.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	NetnsInode int64 `json:"netnsInode,omitempty"`

	// rules is the number of rules read back.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	Rules int32 `json:"rules,omitempty"`

	// durationMicroseconds is how long writing and reading back took.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	DurationMicroseconds int64 `json:"durationMicroseconds,omitempty"`

	// time is when the rule-writer ended.
	//
	// +required
	Time *metav1.Time `json:"time,omitempty"`

	// node is where the pod runs.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// bootID is the boot of the node that the rules were written in.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BootID string `json:"bootID,omitempty"`

	// sandboxTime is when the kubelet reported the network namespace that the
	// rules were written into.
	//
	// +optional
	SandboxTime *metav1.Time `json:"sandboxTime,omitempty"`

	// repair is the repairs.count that the rules were written for; it is left
	// out before the first repair.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Repair int32 `json:"repair,omitempty"`

	// counters are those of this table, which begin at zero when it is written.
	//
	// +optional
	Counters TrafficCounters `json:"counters,omitzero"`
}

// PodNATConfiguration is the NAT of one virt-launcher pod: what it has to be
// and what was read back.
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

	// spec is what is wanted.
	//
	// +required
	Spec PodNATConfigurationSpec `json:"spec,omitzero"`

	// status is what was read back. Until the operator has looked, Ready is Unknown.
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
