// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// OperatorConfiguration says how the operator runs. Every field may be left
// out. A change of a field that is marked "live" takes effect at once; after any
// other the manager ends, and is started again with the new file.
//
// +kubebuilder:object:root=true
type OperatorConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// ruleWriter is about the Jobs that write and read rules on the nodes.
	//
	// +optional
	RuleWriter RuleWriter `json:"ruleWriter,omitzero"`

	// audit is about reading rules back at intervals.
	//
	// +optional
	Audit Audit `json:"audit,omitzero"`

	// guests is about the virtual machines.
	//
	// +optional
	Guests Guests `json:"guests,omitzero"`

	// controllers is about how much is done at a time.
	//
	// +optional
	Controllers Controllers `json:"controllers,omitzero"`

	// client is about requests to the API server.
	//
	// +optional
	Client Client `json:"client,omitzero"`

	// logging is about what the manager writes to its standard error.
	//
	// +optional
	Logging Logging `json:"logging,omitzero"`

	// leaderElection is about which of several managers works.
	//
	// +optional
	LeaderElection LeaderElection `json:"leaderElection,omitzero"`

	// health is about /healthz and /readyz.
	//
	// +optional
	Health Health `json:"health,omitzero"`

	// metrics is about /metrics.
	//
	// +optional
	Metrics Metrics `json:"metrics,omitzero"`

	// webhook is about the server that API servers call.
	//
	// +optional
	Webhook Webhook `json:"webhook,omitzero"`

	// tls is about what the servers of metrics and webhook offer.
	//
	// +optional
	TLS TLS `json:"tls,omitzero"`
}

// RuleWriter is about the rule-writer's Jobs.
type RuleWriter struct {
	// image is the rule-writer's image. The default is that of the
	// environment variable RULE_WRITER_IMAGE, which an installation sets; there
	// has to be one.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`

	// serviceAccount runs the Jobs, in the operator's namespace. The default is
	// that of the environment variable RULE_WRITER_SERVICE_ACCOUNT.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// imagePullPolicy is that of the rule-writer's image. The default is
	// IfNotPresent.
	//
	// +optional
	ImagePullPolicy PullPolicy `json:"imagePullPolicy,omitempty"`

	// imagePullSecrets name Secrets of the operator's namespace that pull the
	// rule-writer's image. The default is none.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`

	// priorityClassName is the priority of the Jobs. The default is
	// system-node-critical: a pod without its rules is not in the mesh.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// PullPolicy says when an image is pulled.
//
// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
type PullPolicy string

const (
	// PullAlways pulls it for every Job.
	PullAlways PullPolicy = "Always"
	// PullIfNotPresent pulls it when the node has none.
	PullIfNotPresent PullPolicy = "IfNotPresent"
	// PullNever uses what the node has.
	PullNever PullPolicy = "Never"
)

// Audit is about reading rules back at intervals.
type Audit struct {
	// intervalSeconds is how often each node's rules are read back and
	// compared, at least 10; 0 turns audits off. The default is 600. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	IntervalSeconds *int32 `json:"intervalSeconds,omitempty"`
}

// Guests is about the virtual machines.
type Guests struct {
	// startGate says how guests are held back until their rules were verified.
	// Container: a container of the guest's pod, which the webhook adds. Pause:
	// KubeVirt starts the guest paused, which needs no webhook, does not hold
	// back the target of a live migration, and makes the guest wait ten seconds
	// in a boot menu. The default is Container, and Pause with webhook.mode
	// Disabled.
	//
	// +optional
	StartGate StartGate `json:"startGate,omitempty"`
}

// StartGate is a way to hold back guests.
//
// +kubebuilder:validation:Enum=Container;Pause
type StartGate string

const (
	// StartGateContainer is by a container of the guest's pod.
	StartGateContainer StartGate = "Container"
	// StartGatePause is by starting the guest paused.
	StartGatePause StartGate = "Pause"
)

// Controllers is about how much is done at a time.
type Controllers struct {
	// workers is how many objects of a kind are reconciled at a time, 1 to 64.
	// The default is 4.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Workers int32 `json:"workers,omitempty"`
}

// Client is about requests to the API server.
type Client struct {
	// requestsPerSecond bounds the requests of the manager; 0 leaves that to
	// the API server's own priority and fairness. The default is 0. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`

	// burst is how many requests may come at once above requestsPerSecond, and
	// has no meaning without it. The default is twice requestsPerSecond. Live.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20000
	Burst int32 `json:"burst,omitempty"`
}

// Logging is about what the manager writes to its standard error.
type Logging struct {
	// level is the least important kind of message that is written. The
	// default is Info. Live.
	//
	// +optional
	Level LogLevel `json:"level,omitempty"`

	// format is JSON, one object a line, or Text, for people. The default is
	// JSON.
	//
	// +optional
	Format LogFormat `json:"format,omitempty"`
}

// LogLevel is a kind of log message.
//
// +kubebuilder:validation:Enum=Error;Info;Debug;Trace
type LogLevel string

const (
	// LogError is what went wrong.
	LogError LogLevel = "Error"
	// LogInfo is what the operator does.
	LogInfo LogLevel = "Info"
	// LogDebug is why.
	LogDebug LogLevel = "Debug"
	// LogTrace is everything, the libraries' messages too.
	LogTrace LogLevel = "Trace"
)

// LogFormat is a form of log messages.
//
// +kubebuilder:validation:Enum=JSON;Text
type LogFormat string

const (
	// LogJSON is one object a line.
	LogJSON LogFormat = "JSON"
	// LogText is for people.
	LogText LogFormat = "Text"
)

// LeaderElection is about which of several managers works.
type LeaderElection struct {
	// mode is Enabled, or Disabled where there is only ever one manager. The
	// default is Enabled.
	//
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// leaseDurationSeconds is how long others wait for a leader that died
	// without a word. The default is 137; this and the two below bear an API
	// server that is gone for a minute
	// (https://github.com/openshift/enhancements/blob/master/CONVENTIONS.md).
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	LeaseDurationSeconds int32 `json:"leaseDurationSeconds,omitempty"`

	// renewDeadlineSeconds is how long a leader goes on that cannot renew its
	// lease, less than leaseDurationSeconds. The default is 107.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	RenewDeadlineSeconds int32 `json:"renewDeadlineSeconds,omitempty"`

	// retryPeriodSeconds is how long all wait between two tries, less than
	// renewDeadlineSeconds. The default is 26.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	RetryPeriodSeconds int32 `json:"retryPeriodSeconds,omitempty"`
}

// Mode says whether something is done.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type Mode string

const (
	// Enabled means that it is.
	Enabled Mode = "Enabled"
	// Disabled means that it is not.
	Disabled Mode = "Disabled"
)

// Health is about /healthz and /readyz.
type Health struct {
	// bindAddress is HOST:PORT, over plain HTTP; the kubelet asks there. 0
	// turns it off. The default is :8081.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`
}

// Metrics is about /metrics.
type Metrics struct {
	// bindAddress is HOST:PORT, over HTTPS. Clients have to show a token of
	// somebody who may get the URL /metrics. 0 turns it off. The default is
	// :8443.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`

	// certificateDirectory has tls.crt and tls.key, which are read again when
	// they change. Without it, and until they are there, the server signs its own
	// certificate at every start.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CertificateDirectory string `json:"certificateDirectory,omitempty"`
}

// Webhook is about the server that API servers call.
type Webhook struct {
	// mode is Enabled, or Disabled where no webhook configuration names the
	// operator. The default is Enabled.
	//
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// bindAddress is HOST:PORT, over HTTPS. The default is :9443.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`

	// certificateSource says who makes the server's certificate. SelfManaged:
	// the operator, which has API servers trust it too. Mounted: somebody else,
	// such as OLM, OpenShift's service-CA or cert-manager, who also has API
	// servers trust it. The default is SelfManaged.
	//
	// +optional
	CertificateSource CertificateSource `json:"certificateSource,omitempty"`

	// certificateDirectory is where a Mounted certificate is, as tls.crt and
	// tls.key, which are read again when they change. The default is
	// /tmp/k8s-webhook-server/serving-certs, where OLM mounts it.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CertificateDirectory string `json:"certificateDirectory,omitempty"`
}

// CertificateSource says who makes a server's certificate.
//
// +kubebuilder:validation:Enum=SelfManaged;Mounted
type CertificateSource string

const (
	// CertificateSelfManaged means that the operator does.
	CertificateSelfManaged CertificateSource = "SelfManaged"
	// CertificateMounted means that somebody else does.
	CertificateMounted CertificateSource = "Mounted"
)

// TLS is about what the servers of metrics and webhook offer.
type TLS struct {
	// profile names the least TLS version and the ciphers, as OpenShift defines
	// them: Old, Intermediate or Modern. Cluster follows the APIServer object
	// "cluster" of config.openshift.io, its changes too, and is Intermediate
	// where there is none. The default is Cluster. Live.
	//
	// +optional
	Profile TLSProfile `json:"profile,omitempty"`
}

// TLSProfile names what a TLS server offers.
//
// +kubebuilder:validation:Enum=Cluster;Old;Intermediate;Modern
type TLSProfile string

const (
	// TLSProfileCluster is what the cluster's API server offers.
	TLSProfileCluster TLSProfile = "Cluster"
	// TLSProfileOld is for clients of long ago: TLS 1.0.
	TLSProfileOld TLSProfile = "Old"
	// TLSProfileIntermediate is for most: TLS 1.2.
	TLSProfileIntermediate TLSProfile = "Intermediate"
	// TLSProfileModern is TLS 1.3 alone.
	TLSProfileModern TLSProfile = "Modern"
)
