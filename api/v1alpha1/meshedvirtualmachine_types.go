// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	networkingv1 "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
)

// DeletionPolicy specifies what the deletion of a MeshedVirtualMachine does with its
// VirtualMachine.
//
// +kubebuilder:validation:Enum=Delete;Orphan
type DeletionPolicy string

const (
	// DeletionPolicyDelete deletes the VirtualMachine.
	DeletionPolicyDelete DeletionPolicy = "Delete"
	// DeletionPolicyOrphan keeps the VirtualMachine.
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
)

// MeshedVirtualMachineSpec defines a virtual machine, its ports and the
// handling of its traffic by the mesh.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mesh) || !has(self.mesh.dataPlane) || self.mesh.dataPlane != 'Ambient' || (!has(self.mesh.mtls) || !has(self.mesh.mtls.mode) || self.mesh.mtls.mode != 'Disable') && (!has(self.ports) || self.ports.all(p, !has(p.mtls) || p.mtls != 'Disable'))",message="mesh.dataPlane Ambient does not support mTLS mode Disable, which ztunnel handles as Permissive: set mesh.mtls.mode and ports[].mtls to Permissive or Strict"
// +kubebuilder:validation:XValidation:rule="!has(self.capture) || !has(self.capture.inbound) || !has(self.capture.inbound.excludePorts) || !has(self.ports) || self.capture.inbound.excludePorts.all(r, (has(r.protocol) && r.protocol == 'UDP') || self.ports.all(p, (has(p.protocol) && p.protocol == 'UDP') || (has(p.via) && p.via == 'Direct') || (has(p.targetPort) ? p.targetPort : p.port) < r.port || (has(p.targetPort) ? p.targetPort : p.port) > (has(r.endPort) ? r.endPort : r.port)))",message="capture.inbound.excludePorts contains a port via Mesh: set via of the port to Direct, or remove it from the range"
// +kubebuilder:validation:XValidation:rule="(has(self.service) && has(self.service.type) && self.service.type == 'Headless') == (has(oldSelf.service) && has(oldSelf.service.type) && oldSelf.service.type == 'Headless')",message="service.type cannot be changed to or from Headless because the clusterIP of a Service is immutable: create another MeshedVirtualMachine"
// +kubebuilder:validation:XValidation:rule="!(has(self.service) && has(self.service.type) && self.service.type == 'Headless') || !has(self.ports) || self.ports.all(p, !has(p.targetPort) || p.targetPort == p.port)",message="a headless Service does not translate ports, so clients connect to targetPort: set port to the number of targetPort, or set another service.type"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || self.ports.all(p, !has(p.nodePort)) || (has(self.service) && has(self.service.type) && self.service.type in ['NodePort', 'LoadBalancer'])",message="ports[].nodePort applies only to service.type NodePort or LoadBalancer: omit nodePort, or set service.type"
// +kubebuilder:validation:XValidation:rule="!has(self.mesh) || !has(self.mesh.allow) || self.mesh.allow.all(a, !has(a.ports) || a.ports.all(n, has(self.ports) && self.ports.exists(p, p.name == n && (!has(p.via) || p.via == 'Mesh') && (!has(p.protocol) || p.protocol == 'TCP'))))",message="mesh.allow[].ports must contain only names of TCP ports via Mesh in spec.ports, because the proxy does not receive other connections: correct the name, or set via of the port to Mesh"
// +kubebuilder:validation:XValidation:rule="!has(self.mesh) || !has(self.mesh.dataPlane) || self.mesh.dataPlane != 'Ambient' || !has(self.ports) || self.ports.all(p, !has(p.maxConnections) && !has(p.rateLimit))",message="mesh.dataPlane Ambient does not support maxConnections and rateLimit of ports, because ztunnel does not limit connections or requests: remove them, or set mesh.dataPlane to Sidecar"
// +kubebuilder:validation:XValidation:rule="has(self.virtualMachine) != has(self.existingVirtualMachine)",message="set exactly one of virtualMachine, for a VirtualMachine that the operator creates, and existingVirtualMachine, for one that exists"
// +kubebuilder:validation:XValidation:rule="has(self.existingVirtualMachine) == has(oldSelf.existingVirtualMachine)",message="the choice between virtualMachine and existingVirtualMachine is immutable: delete this MeshedVirtualMachine, which releases an existing VirtualMachine, and create another one"
// +kubebuilder:validation:XValidation:rule="!has(self.existingVirtualMachine) || !has(self.deletionPolicy) || self.deletionPolicy == 'Orphan'",message="deletionPolicy of an existing VirtualMachine is always Orphan: omit it; to delete the VirtualMachine, delete this MeshedVirtualMachine and then run kubectl delete vm"
// +kubebuilder:validation:XValidation:rule="!has(self.existingVirtualMachine) || !has(self.virtualMachineMetadata) || (!has(self.virtualMachineMetadata.labels) || size(self.virtualMachineMetadata.labels) == 0) && (!has(self.virtualMachineMetadata.annotations) || size(self.virtualMachineMetadata.annotations) == 0)",message="virtualMachineMetadata applies only to a VirtualMachine that the operator creates: omit it, and set labels and annotations on the existing VirtualMachine"
// +kubebuilder:validation:XValidation:rule="!has(self.virtualMachine) || !has(self.virtualMachine.running) || !has(self.virtualMachine.runStrategy)",message="virtualMachine must not set both runStrategy and running: remove running, which KubeVirt has deprecated"
type MeshedVirtualMachineSpec struct {
	// virtualMachine is the complete spec of the KubeVirt VirtualMachine. The
	// spec of an existing VirtualMachine can be used unchanged. The primary
	// interface must use the masquerade binding, which is also the default if
	// no interface is specified. If neither runStrategy nor running is set, the
	// VirtualMachine is created with runStrategy Always, and the operator does
	// not change its run strategy afterwards. Exactly one of virtualMachine and
	// existingVirtualMachine is required.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	VirtualMachine kubevirtv1.VirtualMachineSpec `json:"virtualMachine,omitzero"`

	// existingVirtualMachine names a VirtualMachine of the namespace that the
	// operator did not create. The operator adds labels and annotations of the
	// mesh to its template, which take effect at the next start of the guest, and
	// changes nothing else. A running guest with Istio's sidecar joins the mesh
	// without a restart. The deletion of the MeshedVirtualMachine removes the
	// labels, the annotations and the rules. Only users who may update the
	// VirtualMachine may set it.
	//
	// +optional
	ExistingVirtualMachine ExistingVirtualMachine `json:"existingVirtualMachine,omitzero"`

	// virtualMachineMetadata contains labels and annotations of the
	// VirtualMachine, for example for backup tools. Labels and annotations of
	// the guest's pod belong in virtualMachine.template.metadata.
	//
	// +optional
	VirtualMachineMetadata ObjectMetadata `json:"virtualMachineMetadata,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// deletionPolicy specifies what the deletion of the MeshedVirtualMachine does
	// with its VirtualMachine. With Delete, it is deleted, and with it the disks
	// of its dataVolumeTemplates. With Orphan, the VirtualMachine, its disks and
	// the running guest remain, and the operator removes its rules and labels. The
	// objects of Istio are deleted, and so is the Service. A Service that other
	// MeshedVirtualMachines share remains with its VirtualService and
	// DestinationRule. Orphan takes effect when the operator has set the finalizer
	// meshvm.io/orphan, and Delete when it has removed the finalizer. Defaults to
	// Delete, or to Orphan for existingVirtualMachine, for which Delete is not
	// permitted.
	//
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// version is the mesh subset of the guest. It is the value of the pod label
	// "version" and the name of the subset in the DestinationRule. A changed
	// version takes effect at the next start of the guest. Until then, the subset
	// and the routes are those of the running pod. Defaults to "v1".
	//
	// +optional
	// +default="v1"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Version string `json:"version,omitempty"`

	// service configures the Service of the guest.
	//
	// +optional
	Service ServiceSpec `json:"service,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// ports are the ports that the guest exposes. A port that is listed neither
	// here nor in capture.inbound.excludePorts is closed. A guest without ports
	// has no Service and no address, and can only open connections.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=0
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, q.port == p.port && (has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",message="port must be unique per protocol"
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.all(q, (has(p.targetPort) ? p.targetPort : p.port) != (has(q.targetPort) ? q.targetPort : q.port) || (has(p.protocol) ? p.protocol : 'TCP') != (has(q.protocol) ? q.protocol : 'TCP') || ((has(p.protocol) && p.protocol == 'UDP') || (has(p.via) ? p.via : 'Mesh') == (has(q.via) ? q.via : 'Mesh')) && (!has(p.appProtocol) || !has(q.appProtocol) || p.appProtocol == q.appProtocol)))",message="ports with the same targetPort and protocol must have the same via and appProtocol, because the proxy distinguishes connections by targetPort"
	Ports []Port `json:"ports,omitempty"`

	// mesh configures the handling of the guest's traffic by the mesh.
	//
	// +optional
	Mesh MeshSpec `json:"mesh,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// capture specifies which traffic bypasses the mesh proxy and which traffic
	// is dropped.
	//
	// +optional
	Capture CaptureSpec `json:"capture,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// patches change objects that the operator creates, for settings that have no field.
	// They apply in order, before the objects are compared and applied. They are rejected
	// unless tenancy.patches of the OperatorConfiguration is Enabled. If a patch would
	// violate the limits of the operator, the object stays as it was applied last, and
	// Patched is False.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Patches []Patch `json:"patches,omitempty"`

	// start specifies when the guest may start. AfterProgrammed delays the
	// guest, at every start and on the target of a live migration, until the
	// rules of its pod have been verified by reading them back from the kernel.
	// Immediate lets KubeVirt start the guest without delay, so the first
	// packets of the guest can bypass the mesh. A change takes effect at the
	// next start of the guest. Defaults to AfterProgrammed.
	//
	// +optional
	// +default="AfterProgrammed"
	Start StartPolicy `json:"start,omitempty"`
}

// ExistingVirtualMachine names a VirtualMachine that the operator did not create.
type ExistingVirtualMachine struct {
	// name is the name of the VirtualMachine. It is immutable.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="existingVirtualMachine.name is immutable: delete this MeshedVirtualMachine, which releases the VirtualMachine, and create another one"
	Name string `json:"name,omitempty"`
}

// StartPolicy specifies when the guest may start.
//
// +kubebuilder:validation:Enum=AfterProgrammed;Immediate
type StartPolicy string

const (
	// StartPolicyAfterProgrammed delays the guest until the rules are verified.
	StartPolicyAfterProgrammed StartPolicy = "AfterProgrammed"
	// StartPolicyImmediate starts the guest without delay.
	StartPolicyImmediate StartPolicy = "Immediate"
)

// ObjectMetadata contains labels and annotations of an object that the operator
// creates.
//
// +kubebuilder:validation:MinProperties=0
type ObjectMetadata struct {
	// labels are labels of the object. The operator adds further labels.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are annotations of the object. The operator adds further
	// annotations.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// MTLSMode is Istio's mutual TLS mode for connections to the guest.
//
// +kubebuilder:validation:Enum=Strict;Permissive;Disable
type MTLSMode string

const (
	// MTLSModeStrict accepts only mutual TLS.
	MTLSModeStrict MTLSMode = "Strict"
	// MTLSModePermissive accepts mutual TLS and plain text.
	MTLSModePermissive MTLSMode = "Permissive"
	// MTLSModeDisable accepts only plain text.
	MTLSModeDisable MTLSMode = "Disable"
)

// MeshSpec configures the handling of the guest's traffic by the mesh.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="!has(self.egress) || !has(self.dataPlane) || self.dataPlane == 'Sidecar'",message="mesh.egress applies only to dataPlane Sidecar, because ztunnel does not limit outbound connections: remove egress, or set dataPlane to Sidecar"
// +kubebuilder:validation:XValidation:rule="!has(self.telemetry) || !has(self.dataPlane) || self.dataPlane == 'Sidecar'",message="mesh.telemetry applies only to dataPlane Sidecar, because ztunnel does not read Telemetry objects: remove telemetry, or set dataPlane to Sidecar"
// +kubebuilder:validation:XValidation:rule="!has(self.waypoint) || has(self.dataPlane) && self.dataPlane == 'Ambient'",message="mesh.waypoint applies only to dataPlane Ambient, because a sidecar processes requests itself: remove waypoint, or set dataPlane to Ambient"
type MeshSpec struct {
	// dataPlane is the kind of mesh proxy. Sidecar is a proxy container in the
	// pod. Ambient is Istio's ztunnel, which carries TCP and mutual TLS but
	// does not apply trafficPolicy, nor timeout and retries of ports. They apply
	// to clients with a sidecar and to requests through a waypoint. A change
	// takes effect at the next start of the guest. Defaults to Sidecar.
	//
	// +optional
	DataPlane DataPlane `json:"dataPlane,omitempty"`

	// waypoint is the waypoint through which clients in ambient mode connect to the
	// Service of the guest. It processes HTTP requests, so allow, authorization and
	// authentication support everything that they support with a sidecar, and the
	// guest accepts only connections from the waypoint if one of them is set. It
	// applies only to dataPlane Ambient, requires ports, and does not support a
	// headless or a shared Service. By default, the label istio.io/use-waypoint of
	// the namespace decides whether there is a waypoint.
	//
	// +optional
	Waypoint WaypointSpec `json:"waypoint,omitzero"`

	// identity configures the identity of the guest in the mesh. It requires the
	// operator's webhook. By default, all guests of a namespace have the identity of
	// its service account "default", because KubeVirt runs their pods with it.
	//
	// +optional
	Identity IdentitySpec `json:"identity,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// mtls configures mutual TLS for connections to the guest.
	//
	// +optional
	MTLS MTLSSpec `json:"mtls,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// exportTo are the namespaces whose clients use the VirtualService and the
	// DestinationRule of the guest, and so its timeouts, retries, traffic policy
	// and subset: "*" for all namespaces, "." for the namespace of the guest, or
	// names of namespaces. By default, Istio's mesh configuration decides
	// (defaultVirtualServiceExportTo, defaultDestinationRuleExportTo), which
	// exports to all namespaces unless an administrator changed it. It has no
	// effect on a guest that has neither object, because it has no port that the
	// mesh routes and no trafficPolicy.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([*.]|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	// +kubebuilder:validation:XValidation:rule="size(self) == 1 || !self.exists(e, e == '*')",message="exportTo \"*\" exports to all namespaces: remove the other entries"
	ExportTo []string `json:"exportTo,omitempty"`

	// trafficPolicy is the Istio TrafficPolicy for connections to the guest. It
	// configures load balancing, connection pools, outlier detection and TLS.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TrafficPolicy *networkingv1.TrafficPolicy `json:"trafficPolicy,omitempty"`

	// routes are routes to the guest, for example for a fault, a mirror or a canary,
	// and hosts of gateways. If several MeshedVirtualMachines share the Service, only
	// the routes of the lead take effect. In ambient mode, they apply to clients with a
	// sidecar, to gateways and to requests through a waypoint.
	//
	// +optional
	Routes RoutesSpec `json:"routes,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// allow lists the clients that may connect to the ports of the guest via
	// Mesh. If allow is set, all other clients are denied, including clients
	// without mutual TLS, which have no identity. Istio also evaluates
	// AuthorizationPolicies that the operator did not create: the action ALLOW can
	// allow further clients, and the action DENY has precedence. By default, every
	// client may connect.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Allow []AllowedClient `json:"allow,omitempty"` //nolint:kubeapilinter // The rule of the type requires exactly one of two fields.

	// authorization lists Istio AuthorizationPolicies for the guest, in addition
	// to allow. In ambient mode without a waypoint, only the actions Allow and Deny
	// and attributes of connections are supported, because ztunnel does not process
	// HTTP requests.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Authorization []Authorization `json:"authorization,omitempty"`

	// authentication configures JSON Web Tokens (JWT) of requests to the HTTP ports
	// of the guest, which must have at least one. In ambient mode, it requires a
	// waypoint, because ztunnel does not process HTTP requests.
	//
	// +optional
	Authentication AuthenticationSpec `json:"authentication,omitzero"`

	// egress limits the destinations of the connections that the guest opens
	// through its proxy. It applies only to dataPlane Sidecar. By default, the proxy
	// forwards connections as Istio's mesh configuration specifies.
	//
	// +optional
	Egress EgressSpec `json:"egress,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.

	// telemetry configures the access log, the traces and the metrics of the guest's
	// proxy. It applies only to dataPlane Sidecar. Providers are those of Istio's mesh
	// configuration. By default, the Telemetry objects of the namespace and of Istio's
	// root namespace decide, and then the mesh configuration.
	//
	// +optional
	Telemetry TelemetrySpec `json:"telemetry,omitzero"` //nolint:kubeapilinter // An empty object means the same as none.
}

// MTLSSpec configures mutual TLS for connections to the guest.
//
// +kubebuilder:validation:MinProperties=0
type MTLSSpec struct {
	// mode is the mutual TLS mode of the ports that do not set mtls. Defaults to
	// Strict.
	//
	// +optional
	// +default="Strict"
	Mode MTLSMode `json:"mode,omitempty"`
}

// MeshedVirtualMachine is a KubeVirt virtual machine that is part of an Istio
// service mesh.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mvm,categories=all
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="VM",type=string,JSONPath=`.status.conditions[?(@.type=="VirtualMachineReady")].reason`
// +kubebuilder:printcolumn:name="mTLS",type=string,JSONPath=`.status.mtls.effectiveMode`
// +kubebuilder:printcolumn:name="NAT",type=string,JSONPath=`.status.conditions[?(@.type=="NATProgrammed")].reason`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.addresses[0].value`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 47",message="metadata.name must be at most 47 characters: KubeVirt cannot live-migrate a virtual machine with a longer name"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must be a DNS label that starts with a letter, because it also names the Service"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.service) && has(self.spec.service.name) ? self.spec.service.name : self.metadata.name) == (has(oldSelf.spec.service) && has(oldSelf.spec.service.name) ? oldSelf.spec.service.name : oldSelf.metadata.name)",message="service.name is immutable: create another MeshedVirtualMachine to use another Service"
type MeshedVirtualMachine struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	//
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired state.
	//
	// +required
	Spec MeshedVirtualMachineSpec `json:"spec,omitzero"` //nolint:kubeapilinter // The zero value is invalid: KubeVirt's type does not mark its required fields.

	// status is the observed state. Ready is Unknown until the operator has
	// reconciled the object.
	//
	// +optional
	// +default={"conditions":[{"type":"Ready","status":"Unknown","reason":"Pending","message":"waiting for the operator","lastTransitionTime":"1970-01-01T00:00:00Z"}]}
	Status MeshedVirtualMachineStatus `json:"status,omitzero"`

	// SpecError is the reason why a field of the stored spec could not be decoded. The
	// field is not set in Spec. It is not part of the stored object.
	SpecError string `json:"-"`
}

// MeshedVirtualMachineList is a list of MeshedVirtualMachine.
//
// +kubebuilder:object:root=true
type MeshedVirtualMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []MeshedVirtualMachine `json:"items"`
}
