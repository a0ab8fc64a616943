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

	// interfaces names the pod's interfaces that the rules are about.
	//
	// +required
	Interfaces PodInterfaces `json:"interfaces,omitzero"`

	// families are the addresses of the guest's primary interface, by address
	// family.
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
// +kubebuilder:validation:Enum=IPv4
type IPFamily string

// IPFamilyIPv4 is IPv4.
const IPFamilyIPv4 IPFamily = "IPv4"

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
}

// InboundPlan says what becomes of connections to the pod's address.
//
// +kubebuilder:validation:MinProperties=1
type InboundPlan struct {
	// mesh are TCP ports that go through the proxy: those of the
	// MeshedVirtualMachine, and 22 unless it is declared Direct.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=65
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Mesh []int32 `json:"mesh,omitempty"`

	// directTCP are TCP ports that go to the guest past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectTCP []int32 `json:"directTCP,omitempty"`

	// directUDP are UDP ports that go to the guest.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectUDP []int32 `json:"directUDP,omitempty"`
}

// OutboundPlan says which of the guest's own TCP connections go past the
// proxy; all others go through it.
//
// +kubebuilder:validation:MinProperties=1
type OutboundPlan struct {
	// excludePorts are TCP destination ports that go past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	ExcludePorts []int32 `json:"excludePorts,omitempty"`

	// excludeCIDRs are IPv4 destination networks that go past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=9
	// +kubebuilder:validation:items:MaxLength=18
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self).ip().family() == 4",message="must be an IPv4 network in CIDR notation, for example 10.96.0.0/16"
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`
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
