// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Defaults of ConnectionTrace.
const (
	// DefaultTraceSeconds is the default of durationSeconds.
	DefaultTraceSeconds = 60
	// DefaultTraceTTLSeconds is the default of ttlSecondsAfterFinished.
	DefaultTraceTTLSeconds = 600
)

// ConnectionTraceSpec selects a pod and the connections to trace.
type ConnectionTraceSpec struct {
	// meshedVirtualMachine is the name of a MeshedVirtualMachine in the namespace
	// of this object. The trace runs in the pod of its guest.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	MeshedVirtualMachine string `json:"meshedVirtualMachine,omitempty"`

	// role selects the pod during a live migration. Defaults to Active.
	//
	// +optional
	Role PodRole `json:"role,omitempty"`

	// flow selects connections by their first packet as it enters the network
	// namespace of the pod. Omitted fields match everything.
	//
	// +optional
	Flow TracedFlow `json:"flow,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// durationSeconds is the maximum duration of the trace. It ends earlier when
	// the result of maxFlows connections is known. Defaults to 60.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	DurationSeconds int32 `json:"durationSeconds,omitempty"`

	// maxFlows is the number of connections after which the trace ends. Defaults
	// to 1.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=8
	MaxFlows int32 `json:"maxFlows,omitempty"`

	// ttlSecondsAfterFinished is the time after the end of the trace at which the
	// operator deletes this object. Defaults to 600.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	TTLSecondsAfterFinished int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// TraceOrigin specifies where a connection starts.
//
// +kubebuilder:validation:Enum=Guest;Outside;Pod
type TraceOrigin string

const (
	// TraceOriginGuest is a connection that the guest opens.
	TraceOriginGuest TraceOrigin = "Guest"
	// TraceOriginOutside is a connection from outside the pod.
	TraceOriginOutside TraceOrigin = "Outside"
	// TraceOriginPod is a connection that a process in the pod opens, for example
	// the proxy.
	TraceOriginPod TraceOrigin = "Pod"
)

// TraceProtocol is the protocol of a traced connection.
//
// +kubebuilder:validation:Enum=TCP;UDP;ICMP;ICMPv6
type TraceProtocol string

const (
	// TraceProtocolTCP is TCP.
	TraceProtocolTCP TraceProtocol = "TCP"
	// TraceProtocolUDP is UDP.
	TraceProtocolUDP TraceProtocol = "UDP"
	// TraceProtocolICMP is ICMP over IPv4.
	TraceProtocolICMP TraceProtocol = "ICMP"
	// TraceProtocolICMPv6 is ICMP over IPv6.
	TraceProtocolICMPv6 TraceProtocol = "ICMPv6"
)

// TracedFlow selects connections.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !has(self.protocol) && !has(self.destinationPort) && (!has(self.from) || self.from == 'Outside')",message="port selects connections from outside to a port of the MeshedVirtualMachine: omit protocol, destinationPort and from, or omit port"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || !(self.protocol in ['ICMP', 'ICMPv6']) || !has(self.sourcePort) && !has(self.destinationPort)",message="ICMP has no ports: omit sourcePort and destinationPort, or set protocol to TCP or UDP"
// +kubebuilder:validation:XValidation:rule="!has(self.source) || !has(self.destination) || !isIP(self.source) || !isIP(self.destination) || ip(self.source).family() == ip(self.destination).family()",message="source and destination must be of the same address family"
type TracedFlow struct {
	// port is the name of a port of the MeshedVirtualMachine. It selects
	// connections from outside to this port of the guest.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Port string `json:"port,omitempty"`

	// from specifies where the connection starts.
	//
	// +optional
	From TraceOrigin `json:"from,omitempty"`

	// protocol is the protocol of the connection. If omitted, TCP and UDP match.
	//
	// +optional
	Protocol TraceProtocol `json:"protocol,omitempty"`

	// source is the IP address of the client.
	//
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Source string `json:"source,omitempty"`

	// sourcePort is the port of the client.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	SourcePort int32 `json:"sourcePort,omitempty"`

	// destination is the IP address that the client connects to, as it is in the
	// packet when it enters the pod. For connections to the guest, this is the
	// address of the pod.
	//
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IP address"
	Destination string `json:"destination,omitempty"`

	// destinationPort is the port in the packet. For connections to the guest,
	// this is the targetPort of the port, because Kubernetes translates the port
	// of the Service before the packet enters the pod.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	DestinationPort int32 `json:"destinationPort,omitempty"`
}

// ConnectionTraceStatus reports the trace and its result.
//
// +kubebuilder:validation:MinProperties=1
type ConnectionTraceStatus struct {
	// conditions are Accepted and Complete.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation that the status describes.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// pod is the traced pod.
	//
	// +optional
	Pod PodTarget `json:"pod,omitzero"`

	// node is the name of the pod's node.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// startTime is the time at which the operator created the Job of the trace.
	//
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is the time at which the trace ended or was refused.
	//
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// expirationTime is the time at which the operator deletes this object.
	//
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`

	// verdict describes where the first connection ended and the reason.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Verdict string `json:"verdict,omitempty"`

	// flows are the connections that were seen, in the order of their first
	// packet.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Flows []FlowVerdict `json:"flows,omitempty"`

	// result is the result of the tracer as JSON (meshvm.io/trace-result/v1). It
	// contains the rules that the packets of each connection matched.
	//
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=32768
	Result string `json:"result,omitempty"`
}

// FlowVerdict reports where a connection ended.
type FlowVerdict struct {
	// from is where the connection started.
	//
	// +optional
	From TraceOrigin `json:"from,omitempty"`

	// protocol is the name of the protocol, for example tcp.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Protocol string `json:"protocol,omitempty"`

	// source is the address and port of the client in the first packet.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Source string `json:"source,omitempty"`

	// destination is the address and port in the first packet.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Destination string `json:"destination,omitempty"`

	// ending is the destination that the packets reached, for example Guest or
	// Dropped.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Ending string `json:"ending,omitempty"`

	// answer is the answer to the first packet: Answered, Refused, None or
	// Unknown.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Answer string `json:"answer,omitempty"`

	// via is Mesh if the proxy accepted the connection, and Direct otherwise.
	//
	// +required
	Via PortVia `json:"via,omitempty"`

	// summary describes where the connection ended and the reason.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Summary string `json:"summary,omitempty"`
}

// ConnectionTrace traces connections through the rules of the pod of a
// MeshedVirtualMachine once, and reports where they ended. The spec is
// immutable. The operator deletes the object some time after the trace ended.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ctrace
// +kubebuilder:printcolumn:name="Machine",type=string,JSONPath=`.spec.meshedVirtualMachine`
// +kubebuilder:printcolumn:name="Complete",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Complete")].reason`
// +kubebuilder:printcolumn:name="Ending",type=string,JSONPath=`.status.flows[0].ending`
// +kubebuilder:printcolumn:name="Answer",type=string,JSONPath=`.status.flows[0].answer`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Verdict",type=string,priority=1,JSONPath=`.status.verdict`
type ConnectionTrace struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec selects the pod and the connections.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec is immutable: create another ConnectionTrace"
	Spec ConnectionTraceSpec `json:"spec,omitzero"`

	// status is the observed state.
	//
	// +optional
	Status ConnectionTraceStatus `json:"status,omitzero"`
}

// ConnectionTraceList is a list of ConnectionTrace.
//
// +kubebuilder:object:root=true
type ConnectionTraceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ConnectionTrace `json:"items"`
}
