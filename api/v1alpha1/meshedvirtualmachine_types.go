// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	networkingv1 "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
)

// MeshedVirtualMachineSpec is what an application team wants: the guest, the
// ports it offers and how the mesh treats its traffic.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mesh) || !has(self.mesh.mtls) || !has(self.mesh.mtls.ports) || self.mesh.mtls.ports.all(m, self.ports.exists(p, p.name == m.name))",message="mesh.mtls.ports[].name must be the name of an entry of ports"
// +kubebuilder:validation:XValidation:rule="!has(self.capture) || !has(self.capture.inbound) || !has(self.capture.inbound.excludePorts) || self.capture.inbound.excludePorts.all(r, (has(r.protocol) && r.protocol == 'UDP') || self.ports.all(p, (has(p.protocol) && p.protocol == 'UDP') || (has(p.route) && p.route == 'Direct') || (has(p.targetPort) ? p.targetPort : p.port) < r.port || (has(p.targetPort) ? p.targetPort : p.port) > (has(r.endPort) ? r.endPort : r.port)))",message="capture.inbound.excludePorts covers an entry of ports that goes through the mesh: set its route to Direct, or leave it out of the range"
// +kubebuilder:validation:XValidation:rule="(has(self.service) && has(self.service.type) && self.service.type == 'Headless') == (has(oldSelf.service) && has(oldSelf.service.type) && oldSelf.service.type == 'Headless')",message="service.type cannot change to or from Headless, because a Service keeps its kind of address: make another MeshedVirtualMachine"
type MeshedVirtualMachineSpec struct {
	// virtualMachine is the spec of the KubeVirt VirtualMachine, whole: that
	// of an existing VirtualMachine can be pasted. Its primary interface must
	// use the masquerade binding, which is also what it gets when it names no
	// interface.
	//
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	VirtualMachine kubevirtv1.VirtualMachineSpec `json:"virtualMachine,omitzero"`

	// version names the mesh subset that the guest belongs to. It becomes the
	// label "version" of the pod and the name of the DestinationRule's subset.
	//
	// +optional
	// +default="v1"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Version string `json:"version,omitempty"`

	// service describes the Service through which others reach the guest.
	//
	// +optional
	Service ServiceSpec `json:"service,omitzero"`

	// ports are the guest's ports that others may reach.
	//
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, q.port == p.port && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",message="two ports share one port number and protocol: give each its own port"
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, (has(q.targetPort) ? q.targetPort : q.port) == (has(p.targetPort) ? p.targetPort : p.port) && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",message="two ports share one targetPort and protocol: expose a guest port once"
	Ports []Port `json:"ports,omitempty"`

	// mesh says how the mesh treats the guest's traffic.
	//
	// +optional
	Mesh MeshSpec `json:"mesh,omitzero"`

	// capture says which traffic the NAT in the pod sends past the mesh, and
	// what it drops.
	//
	// +optional
	Capture CaptureSpec `json:"capture,omitzero"`

	// start says when the guest may run. AfterProgrammed holds it back, at every
	// start and on the target of a live migration, until the rules of its pod
	// were read back from the kernel. Immediate lets KubeVirt start it at once,
	// so that its first packets may go past the mesh. A change takes effect with
	// the next start of the guest.
	//
	// +optional
	// +default="AfterProgrammed"
	Start StartPolicy `json:"start,omitempty"`
}

// StartPolicy says when the guest may run.
//
// +kubebuilder:validation:Enum=AfterProgrammed;Immediate
type StartPolicy string

const (
	// StartPolicyAfterProgrammed is after the rules were verified.
	StartPolicyAfterProgrammed StartPolicy = "AfterProgrammed"
	// StartPolicyImmediate is at once.
	StartPolicyImmediate StartPolicy = "Immediate"
)

// ServiceType is a type of Service, or Headless for one without an address.
//
// +kubebuilder:validation:Enum=ClusterIP;Headless;LoadBalancer;NodePort
type ServiceType string

const (
	// ServiceTypeClusterIP is a Service with an address inside the cluster.
	ServiceTypeClusterIP ServiceType = "ClusterIP"
	// ServiceTypeHeadless is a Service whose name resolves to the pod.
	ServiceTypeHeadless ServiceType = "Headless"
	// ServiceTypeLoadBalancer is a Service behind an external load balancer.
	ServiceTypeLoadBalancer ServiceType = "LoadBalancer"
	// ServiceTypeNodePort is a Service on a port of every node.
	ServiceTypeNodePort ServiceType = "NodePort"
)

// ServiceSpec describes the Service in front of the guest.
//
// +kubebuilder:validation:MinProperties=1
type ServiceSpec struct {
	// type is the Service's type, or Headless for a Service without an
	// address of its own.
	//
	// +optional
	// +default="ClusterIP"
	Type ServiceType `json:"type,omitempty"`

	// ipFamilyPolicy says of which address families the Service's addresses
	// are. SingleStack is the cluster's first family, which is also what
	// happens when it is left out. PreferDualStack is every family that the
	// cluster has, and RequireDualStack both or an error. A mesh port answers
	// over the families that the proxy of the guest's pod carries: of a pod
	// with both, a sidecar carries IPv4 alone, unless Istio's ISTIO_DUAL_STACK
	// is on.
	//
	// +optional
	IPFamilyPolicy ServiceIPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`
}

// ServiceIPFamilyPolicy has the values of a Service's own ipFamilyPolicy.
//
// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
type ServiceIPFamilyPolicy string

const (
	// ServiceIPFamilyPolicySingleStack is one family.
	ServiceIPFamilyPolicySingleStack ServiceIPFamilyPolicy = "SingleStack"
	// ServiceIPFamilyPolicyPreferDualStack is what the cluster has.
	ServiceIPFamilyPolicyPreferDualStack ServiceIPFamilyPolicy = "PreferDualStack"
	// ServiceIPFamilyPolicyRequireDualStack is both.
	ServiceIPFamilyPolicyRequireDualStack ServiceIPFamilyPolicy = "RequireDualStack"
)

// PortProtocol is the transport protocol of a port.
//
// +kubebuilder:validation:Enum=TCP;UDP
type PortProtocol string

const (
	// PortProtocolTCP is TCP.
	PortProtocolTCP PortProtocol = "TCP"
	// PortProtocolUDP is UDP, which no mesh proxy carries.
	PortProtocolUDP PortProtocol = "UDP"
)

// PortRoute says whether connections to a port pass the mesh proxy.
//
// +kubebuilder:validation:Enum=Mesh;Direct
type PortRoute string

const (
	// PortRouteMesh sends connections through the proxy.
	PortRouteMesh PortRoute = "Mesh"
	// PortRouteDirect sends connections to the guest past the proxy.
	PortRouteDirect PortRoute = "Direct"
)

// Port is a port of the guest that others may reach.
//
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'UDP' || !has(self.route) || self.route == 'Direct'",message="the mesh cannot carry UDP: leave route out or set it to Direct"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'UDP' || !has(self.appProtocol)",message="appProtocol chooses how the mesh treats TCP: leave it out for UDP"
// +kubebuilder:validation:XValidation:rule="(has(self.protocol) && self.protocol == 'UDP') || !((has(self.targetPort) ? self.targetPort : self.port) in [15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090, 15901, 15902, 49152, 49153])",message="targetPort (or port, when targetPort is left out) is reserved: 15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053 and 15090 belong to the mesh proxy, 15901 and 15902 to the start gate, 49152 and 49153 to KubeVirt's live migration; let the guest listen on another port"
type Port struct {
	// name identifies the port in the Service, in routes and in status.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// port is the number on the Service.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// targetPort is the number on which the guest listens; port when left out.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort,omitempty"`

	// protocol is the transport protocol: TCP when left out.
	//
	// +optional
	Protocol PortProtocol `json:"protocol,omitempty"`

	// appProtocol says how the mesh treats the port: HTTP routes for http,
	// http2, grpc, grpc-web and kubernetes.io/h2c; TLS routes by server name
	// for https and tls; TCP routes for everything else and when left out.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Enum=http;http2;grpc;grpc-web;kubernetes.io/h2c;https;tls;tcp;mongo;mysql;redis
	AppProtocol string `json:"appProtocol,omitempty"`

	// route says whether connections pass the mesh proxy. When left out it is
	// Mesh for TCP and Direct for UDP, which no mesh proxy carries. Traffic to
	// a Direct port is not encrypted or authorised by the mesh; status lists
	// such ports in mtls.bypassedPorts.
	//
	// +optional
	Route PortRoute `json:"route,omitempty"`
}

// MTLSMode is Istio's mutual TLS mode for connections to the guest.
//
// +kubebuilder:validation:Enum=Strict;Permissive;Disable
type MTLSMode string

const (
	// MTLSModeStrict takes mutual TLS only.
	MTLSModeStrict MTLSMode = "Strict"
	// MTLSModePermissive takes mutual TLS and plain text.
	MTLSModePermissive MTLSMode = "Permissive"
	// MTLSModeDisable takes plain text only.
	MTLSModeDisable MTLSMode = "Disable"
)

// MeshSpec says how the mesh treats the guest's traffic.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.dataPlane) || self.dataPlane != 'Ambient' || !has(self.mtls) || (!has(self.mtls.mode) || self.mtls.mode != 'Disable') && (!has(self.mtls.ports) || self.mtls.ports.all(p, p.mode != 'Disable'))",message="dataPlane Ambient cannot turn mutual TLS off: ztunnel takes Disable for Permissive; set mtls.mode and mtls.ports[].mode to Permissive or Strict"
type MeshSpec struct {
	// dataPlane is the kind of mesh proxy: Sidecar, a proxy of the pod's own,
	// when left out; Ambient is Istio's ztunnel. ztunnel carries TCP and
	// mutual TLS. Of traffic and trafficPolicy it knows nothing: those apply to
	// clients with a sidecar and to requests that pass a waypoint. A running
	// guest changes over with its next start.
	//
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`

	// mtls is the mutual TLS mode of connections to the guest.
	//
	// +optional
	MTLS MTLSSpec `json:"mtls,omitzero"`

	// traffic shapes how others' proxies route to the guest.
	//
	// +optional
	Traffic TrafficSpec `json:"traffic,omitzero"`

	// trafficPolicy is Istio's own TrafficPolicy for connections to the
	// guest: load balancing, connection pool, outlier detection, TLS.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TrafficPolicy *networkingv1.TrafficPolicy `json:"trafficPolicy,omitempty"`
}

// MTLSSpec is the mutual TLS mode of connections to the guest.
//
// +kubebuilder:validation:MinProperties=1
type MTLSSpec struct {
	// mode is the mode of all ports that ports does not list.
	//
	// +optional
	// +default="Strict"
	Mode MTLSMode `json:"mode,omitempty"`

	// ports sets the mode of single ports, by name.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Ports []PortMTLS `json:"ports,omitempty"`
}

// PortMTLS is the mutual TLS mode of one port.
type PortMTLS struct {
	// name is the name of an entry of ports.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	Name string `json:"name,omitempty"`

	// mode is the port's mode.
	//
	// +required
	Mode MTLSMode `json:"mode,omitempty"`
}

// TrafficSpec shapes the HTTP routes to the guest.
//
// +kubebuilder:validation:MinProperties=1
type TrafficSpec struct {
	// timeout bounds an HTTP request, for example "5s"; Istio's default is no
	// bound. (Gateway API GEP-2257 duration.)
	//
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	Timeout string `json:"timeout,omitempty"`

	// retries is Istio's own HTTPRetry for failed HTTP requests.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Retries *networkingv1.HTTPRetry `json:"retries,omitempty"`
}

// MeshedVirtualMachine is a KubeVirt virtual machine whose traffic passes an
// Istio mesh.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mvm,categories=all
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="VM",type=string,JSONPath=`.status.conditions[?(@.type=="VirtualMachineReady")].reason`
// +kubebuilder:printcolumn:name="mTLS",type=string,JSONPath=`.status.mtls.effectiveMode`
// +kubebuilder:printcolumn:name="NAT",type=string,JSONPath=`.status.conditions[?(@.type=="NATProgrammed")].reason`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 47",message="metadata.name must be at most 47 characters: live migration of the virtual machine fails past that"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label that starts with a letter, because it also names the Service"
type MeshedVirtualMachine struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what is wanted.
	//
	// +required
	Spec MeshedVirtualMachineSpec `json:"spec,omitzero"`

	// status is what was found. Until the operator has looked, Ready is Unknown.
	//
	// +optional
	// +default={"conditions":[{"type":"Ready","status":"Unknown","reason":"Pending","message":"waiting for the operator","lastTransitionTime":"1970-01-01T00:00:00Z"}]}
	Status MeshedVirtualMachineStatus `json:"status,omitzero"`
}

// MeshedVirtualMachineList is a list of MeshedVirtualMachine.
//
// +kubebuilder:object:root=true
type MeshedVirtualMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []MeshedVirtualMachine `json:"items"`
}
