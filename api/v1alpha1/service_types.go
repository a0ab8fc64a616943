// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import corev1 "k8s.io/api/core/v1"

// ServiceType is a type of Service, or Headless for a Service without a cluster
// IP.
//
// +kubebuilder:validation:Enum=ClusterIP;Headless;LoadBalancer;NodePort
type ServiceType string

const (
	// ServiceTypeClusterIP is a Service with a cluster IP.
	ServiceTypeClusterIP ServiceType = "ClusterIP"
	// ServiceTypeHeadless is a Service whose DNS name resolves to the pod's
	// addresses. Routes of TCP ports and subsets have no effect on it.
	ServiceTypeHeadless ServiceType = "Headless"
	// ServiceTypeLoadBalancer is a Service with an external load balancer.
	ServiceTypeLoadBalancer ServiceType = "LoadBalancer"
	// ServiceTypeNodePort is a Service with a port on every node.
	ServiceTypeNodePort ServiceType = "NodePort"
)

// ServiceSpec configures the Service of the guest. Its fields have the names and
// the meaning of the fields of a Service.
//
// Several MeshedVirtualMachines of a namespace share a Service if they have the same
// service.name. The lead is the one with the name of the Service, or the oldest if none
// has this name. The fields name, trafficPercent and whenUnready apply to each of them.
// All other fields are taken from the lead.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="!has(self.trafficPercent) || !has(self.type) || self.type != 'Headless'",message="trafficPercent has no effect on a headless Service, whose clients choose a pod by DNS: omit it, or set another type"
// +kubebuilder:validation:XValidation:rule="!has(self.externalTrafficPolicy) || (has(self.type) && self.type in ['NodePort', 'LoadBalancer'])",message="externalTrafficPolicy applies only to type NodePort or LoadBalancer: omit it, or set type"
// +kubebuilder:validation:XValidation:rule="(!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)) || (has(self.type) && self.type == 'LoadBalancer')",message="loadBalancerClass and loadBalancerSourceRanges apply only to type LoadBalancer: omit them, or set type"
// +kubebuilder:validation:XValidation:rule="!(has(self.type) && self.type == 'LoadBalancer' && has(oldSelf.type) && oldSelf.type == 'LoadBalancer') || (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))",message="loadBalancerClass of a Service of type LoadBalancer is immutable: set another type first, or create another MeshedVirtualMachine"
type ServiceSpec struct {
	// name is the name of the Service. MeshedVirtualMachines of a namespace with the
	// same name share one Service, for example two versions of an application.
	// Their ports must be identical in name, port, targetPort, protocol,
	// appProtocol and via, they must have the same data plane, and type must be
	// Headless on all of them or on none. At most 32 can share a Service: a newer one
	// is not accepted. It is immutable.
	// Defaults to the name of the MeshedVirtualMachine.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=47
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// trafficPercent is the percentage of requests and TCP connections that clients
	// with a mesh proxy send to the version of this MeshedVirtualMachine, of all
	// versions of a shared Service. MeshedVirtualMachines with the same version must
	// not have different percentages. Versions without a percentage share the rest by
	// the number of their MeshedVirtualMachines. If every version has a percentage and
	// their sum is below 100, they are scaled to 100. A sum above 100, and 0 for each of
	// several versions, are rejected. It does not apply to ports with TLS of the application,
	// ports via Direct, clients without a mesh proxy, and ztunnel, which distribute
	// connections by the number of pods.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	TrafficPercent *int32 `json:"trafficPercent,omitempty"`

	// whenUnready specifies what happens to the traffic of this version while none
	// of its guests serves. Shift moves it to the versions that serve, in proportion to their percentages,
	// immediately, and moves it back when the version has served for 30 seconds. Keep does
	// not move it, so its requests fail. Defaults to Shift.
	//
	// +optional
	// +default="Shift"
	WhenUnready WhenUnready `json:"whenUnready,omitempty"`

	// type is the type of the Service, or Headless for a Service without a
	// cluster IP, whose TCP ports have no route and which has no subset. It cannot be changed to or from Headless. Defaults to
	// ClusterIP.
	//
	// +optional
	// +default="ClusterIP"
	Type ServiceType `json:"type,omitempty"`

	// ipFamilyPolicy specifies the address families of the Service. SingleStack
	// uses the cluster's first family. PreferDualStack uses all families of the
	// cluster. RequireDualStack requires both families and fails on a
	// single-stack cluster. Connections to a port via Mesh are accepted
	// only over families that the proxy of the pod carries. In a dual-stack
	// pod, a sidecar carries only IPv4 unless ISTIO_DUAL_STACK is enabled in
	// Istio. Defaults to SingleStack.
	//
	// +optional
	IPFamilyPolicy ServiceIPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`

	// labels are labels of the Service. The operator adds further labels.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are annotations of the Service, for example for a load balancer,
	// for external DNS or for Istio. The operator adds further annotations.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=0
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`

	// externalTrafficPolicy specifies whether nodes forward external
	// connections to guests on other nodes. Local preserves the address of the
	// client. It applies only to type NodePort or LoadBalancer. Kubernetes
	// defaults it to Cluster.
	//
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// internalTrafficPolicy specifies whether connections from the cluster
	// reach a guest on another node. Kubernetes defaults it to Cluster.
	//
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	InternalTrafficPolicy corev1.ServiceInternalTrafficPolicy `json:"internalTrafficPolicy,omitempty"`

	// sessionAffinity specifies whether connections of one client reach the
	// same pod. It does not apply to clients with a mesh proxy, which follow
	// mesh.trafficPolicy.loadBalancer. Kubernetes defaults it to None.
	//
	// +optional
	// +kubebuilder:validation:Enum=ClientIP;None
	SessionAffinity corev1.ServiceAffinity `json:"sessionAffinity,omitempty"`

	// loadBalancerClass is the class of the load balancer implementation. It
	// applies only to type LoadBalancer and is immutable.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	LoadBalancerClass string `json:"loadBalancerClass,omitempty"`

	// loadBalancerSourceRanges are the networks from which the load balancer
	// accepts connections. It applies only to type LoadBalancer. By default,
	// all networks are accepted.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`

	// publishNotReadyAddresses specifies whether the endpoints and DNS contain
	// the addresses of pods that are not ready. Clients then also connect to a
	// guest that is starting or whose rules are not verified. Kubernetes
	// defaults it to false.
	//
	// +optional
	PublishNotReadyAddresses *bool `json:"publishNotReadyAddresses,omitempty"` //nolint:kubeapilinter // The field has the type of the field of a Service.
}

// WhenUnready specifies what happens to the traffic of a version that does not serve.
//
// +kubebuilder:validation:Enum=Shift;Keep
type WhenUnready string

const (
	// WhenUnreadyShift moves the traffic to the versions that serve.
	WhenUnreadyShift WhenUnready = "Shift"
	// WhenUnreadyKeep does not move the traffic.
	WhenUnreadyKeep WhenUnready = "Keep"
)

// ServiceIPFamilyPolicy has the same values as ipFamilyPolicy of a Service.
//
// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
type ServiceIPFamilyPolicy string

const (
	// ServiceIPFamilyPolicySingleStack uses the cluster's first family.
	ServiceIPFamilyPolicySingleStack ServiceIPFamilyPolicy = "SingleStack"
	// ServiceIPFamilyPolicyPreferDualStack uses all families of the cluster.
	ServiceIPFamilyPolicyPreferDualStack ServiceIPFamilyPolicy = "PreferDualStack"
	// ServiceIPFamilyPolicyRequireDualStack requires both families.
	ServiceIPFamilyPolicyRequireDualStack ServiceIPFamilyPolicy = "RequireDualStack"
)
