// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OperatorConfiguration configures the operator. All fields are optional.
// Changes to fields that are marked "Live" take effect without a restart. After
// any other change, the manager exits and Kubernetes restarts it with the new
// configuration.
//
// +kubebuilder:object:root=true
type OperatorConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// ruleWriter configures the Jobs that write and read rules on the nodes.
	//
	// +optional
	RuleWriter RuleWriter `json:"ruleWriter,omitzero"`

	// tracer configures the Jobs that trace connections on the nodes. They have
	// the other settings of ruleWriter.
	//
	// +optional
	Tracer Tracer `json:"tracer,omitzero"`

	// audit configures the periodic verification of rules.
	//
	// +optional
	Audit Audit `json:"audit,omitzero"`

	// guests configures the virtual machines.
	//
	// +optional
	Guests Guests `json:"guests,omitzero"`

	// cluster describes the cluster.
	//
	// +optional
	Cluster Cluster `json:"cluster,omitzero"`

	// mesh describes the Istio installation.
	//
	// +optional
	Mesh Mesh `json:"mesh,omitzero"`

	// tenancy limits the effect of MeshedVirtualMachines on other namespaces.
	//
	// +optional
	Tenancy Tenancy `json:"tenancy,omitzero"`

	// controllers configures the concurrency of the controllers.
	//
	// +optional
	Controllers Controllers `json:"controllers,omitzero"`

	// client configures requests to the API server.
	//
	// +optional
	Client Client `json:"client,omitzero"`

	// logging configures the manager's log on standard error.
	//
	// +optional
	Logging Logging `json:"logging,omitzero"`

	// leaderElection configures leader election among several managers.
	//
	// +optional
	LeaderElection LeaderElection `json:"leaderElection,omitzero"`

	// health configures the server of /healthz and /readyz.
	//
	// +optional
	Health Health `json:"health,omitzero"`

	// metrics configures the server of /metrics.
	//
	// +optional
	Metrics Metrics `json:"metrics,omitzero"`

	// webhook configures the webhook server.
	//
	// +optional
	Webhook Webhook `json:"webhook,omitzero"`

	// tls configures TLS of the metrics server and the webhook server.
	//
	// +optional
	TLS TLS `json:"tls,omitzero"`
}

// Tracer configures the tracer's Jobs.
type Tracer struct {
	// image is the image of the tracer. Defaults to the environment variable
	// TRACER_IMAGE, which the installation manifests set. One of the two is
	// required.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
}

// RuleWriter configures the rule-writer's Jobs.
type RuleWriter struct {
	// image is the image of the rule-writer. Defaults to the environment
	// variable RULE_WRITER_IMAGE, which the installation manifests set. One of
	// the two is required.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`

	// serviceAccount is the ServiceAccount of the Jobs in the operator's
	// namespace. Defaults to the environment variable
	// RULE_WRITER_SERVICE_ACCOUNT.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// imagePullPolicy is the pull policy of the rule-writer image. Defaults to
	// IfNotPresent.
	//
	// +optional
	ImagePullPolicy PullPolicy `json:"imagePullPolicy,omitempty"`

	// imagePullSecrets are the names of Secrets in the operator's namespace for
	// pulling the rule-writer image. Defaults to none.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`

	// priorityClassName is the priority class of the Jobs. Defaults to
	// system-node-critical because a pod without rules is not part of the mesh.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// PullPolicy specifies when an image is pulled.
//
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type PullPolicy string

const (
	// PullAlways pulls the image for every Job.
	PullAlways PullPolicy = "Always"
	// PullIfNotPresent pulls the image if it is not present on the node.
	PullIfNotPresent PullPolicy = "IfNotPresent"
	// PullNever never pulls the image.
	PullNever PullPolicy = "Never"
)

// Audit configures the periodic verification of rules.
type Audit struct {
	// intervalSeconds is the interval in seconds at which the rules on each
	// node are read back and compared. It must be 0 or at least 10. 0 disables
	// audits. Defaults to 600. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	IntervalSeconds *int32 `json:"intervalSeconds,omitempty"`
}

// Guests configures the virtual machines.
type Guests struct {
	// startGate specifies how the start of guests is delayed until their rules are
	// verified. Container uses a container that the webhook adds to the guest's
	// pod. Pause starts the guest paused through KubeVirt. Pause does not require
	// the webhook, does not delay the guest on the target of a live migration, and
	// delays every start by ten seconds in a boot menu. Defaults to Container, or
	// to Pause if webhook.mode is Disabled.
	//
	// +optional
	StartGate StartGate `json:"startGate,omitempty"`

	// startGateResources are the resources of each of the two containers that the
	// webhook adds to the guest's pod. Increase them if a LimitRange in a guest's
	// namespace has a higher minimum.
	//
	// +optional
	StartGateResources StartGateResources `json:"startGateResources,omitzero"`
}

// StartGateResources are the resources of a container of the start gate.
type StartGateResources struct {
	// cpu is the CPU request in pods that have a container without a CPU limit.
	// The container then has no CPU limit. Defaults to 10m.
	//
	// +optional
	CPU *resource.Quantity `json:"cpu,omitempty"`

	// cpuLimit is the CPU request and the CPU limit in pods whose other containers
	// all have a CPU limit. With less than the default, every start of a guest
	// takes longer. Defaults to 100m.
	//
	// +optional
	CPULimit *resource.Quantity `json:"cpuLimit,omitempty"`

	// memory is the memory request and the memory limit. Defaults to 32Mi.
	//
	// +optional
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// StartGate is a method of delaying the start of guests.
//
// +kubebuilder:validation:Enum=Container;Pause
type StartGate string

const (
	// StartGateContainer uses a container in the guest's pod.
	StartGateContainer StartGate = "Container"
	// StartGatePause starts the guest paused.
	StartGatePause StartGate = "Pause"
)

// Cluster describes the cluster.
type Cluster struct {
	// domain is the DNS domain of the cluster, as in the kubelet's clusterDomain
	// and Istio's global.proxy.clusterDomain. The hosts of VirtualServices and
	// DestinationRules end in it. Defaults to the domain in the search list of
	// /etc/resolv.conf in the manager's pod, or else to cluster.local.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Domain string `json:"domain,omitempty"`
}

// Mesh describes the Istio installation.
type Mesh struct {
	// rootNamespace is Istio's root namespace, meshConfig.rootNamespace, in which
	// policies without a selector apply to the whole mesh. Defaults to
	// istio-system.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	RootNamespace string `json:"rootNamespace,omitempty"`
}

// Controllers configures the concurrency of the controllers.
type Controllers struct {
	// workers is the number of objects of a kind that are reconciled
	// concurrently, from 1 to 64. Defaults to 4.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Workers int32 `json:"workers,omitempty"`
}

// Client configures requests to the API server.
type Client struct {
	// requestsPerSecond limits the request rate of the manager. 0 disables the
	// limit and relies on API priority and fairness in the API server. Defaults
	// to 0. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`

	// burst is the number of requests that may exceed requestsPerSecond for a
	// short time. It has no effect without requestsPerSecond. Defaults to twice
	// requestsPerSecond. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20000
	Burst int32 `json:"burst,omitempty"`
}

// Logging configures the manager's log on standard error.
type Logging struct {
	// level is the minimum severity of messages in the log. Defaults to Info.
	// Live.
	//
	// +optional
	Level LogLevel `json:"level,omitempty"`

	// format is the format of the log. JSON writes one object per line. Text is
	// easier to read in a terminal. Defaults to JSON.
	//
	// +optional
	Format LogFormat `json:"format,omitempty"`
}

// LogLevel is the severity of a log message.
//
// +kubebuilder:validation:Enum=Error;Info;Debug;Trace
type LogLevel string

const (
	// LogError logs failures.
	LogError LogLevel = "Error"
	// LogInfo also logs the actions of the operator.
	LogInfo LogLevel = "Info"
	// LogDebug also logs the reasons for actions.
	LogDebug LogLevel = "Debug"
	// LogTrace logs all messages, including messages of libraries.
	LogTrace LogLevel = "Trace"
)

// LogFormat is the format of log messages.
//
// +kubebuilder:validation:Enum=JSON;Text
type LogFormat string

const (
	// LogJSON writes one JSON object per line.
	LogJSON LogFormat = "JSON"
	// LogText writes lines of text.
	LogText LogFormat = "Text"
)

// LeaderElection configures leader election among several managers.
type LeaderElection struct {
	// mode is Enabled or Disabled. Disabled is safe only if a single manager
	// runs. Defaults to Enabled.
	//
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// leaseDurationSeconds is the time in seconds that other managers wait
	// before they replace a leader that does not renew its lease. A status of
	// a failed leader stays unchanged for this time. Defaults to 30. With 137,
	// 107 and 26 in this and the next two fields, the leader survives an outage
	// of the API server of one minute
	// (https://github.com/openshift/enhancements/blob/master/CONVENTIONS.md).
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	LeaseDurationSeconds int32 `json:"leaseDurationSeconds,omitempty"`

	// renewDeadlineSeconds is the time in seconds after which a leader that
	// cannot renew its lease gives up. It must be less than
	// leaseDurationSeconds. Defaults to 20.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	RenewDeadlineSeconds int32 `json:"renewDeadlineSeconds,omitempty"`

	// retryPeriodSeconds is the time in seconds between two attempts to acquire
	// or renew the lease. It must be less than renewDeadlineSeconds. Defaults
	// to 4.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	RetryPeriodSeconds int32 `json:"retryPeriodSeconds,omitempty"`
}

// Mode specifies whether a feature is enabled.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type Mode string

const (
	// Enabled enables the feature.
	Enabled Mode = "Enabled"
	// Disabled disables the feature.
	Disabled Mode = "Disabled"
)
