// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Health configures the server of /healthz and /readyz.
type Health struct {
	// bindAddress is the HOST:PORT of the HTTP server that the kubelet probes.
	// 0 disables the server. Defaults to :8081.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`
}

// Metrics configures the server of /metrics.
type Metrics struct {
	// bindAddress is the HOST:PORT of the HTTPS server. A client must
	// authenticate with a bearer token and must be authorized to get the URL
	// /metrics. 0 disables the server. Defaults to :8443.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`

	// certificateDirectory contains tls.crt and tls.key. They are reloaded when
	// they change. If the field is not set, or as long as the files do not
	// exist, the server uses a self-signed certificate that it creates at each
	// start.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CertificateDirectory string `json:"certificateDirectory,omitempty"`
}

// Webhook configures the webhook server.
type Webhook struct {
	// mode is Enabled or Disabled. Disabled requires that no webhook
	// configuration refers to the operator. Defaults to Enabled.
	//
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// bindAddress is the HOST:PORT of the HTTPS server. Defaults to :9443.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	BindAddress string `json:"bindAddress,omitempty"`

	// certificateSource specifies the issuer of the serving certificate. With
	// SelfManaged, the operator creates the certificate and sets caBundle in
	// the webhook configuration. With Mounted, another component, for example
	// OLM, OpenShift service CA or cert-manager, does both. Defaults to
	// SelfManaged.
	//
	// +optional
	CertificateSource CertificateSource `json:"certificateSource,omitempty"`

	// certificateDirectory contains tls.crt and tls.key of a Mounted
	// certificate. They are reloaded when they change. Defaults to
	// /tmp/k8s-webhook-server/serving-certs, where OLM mounts the certificate.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CertificateDirectory string `json:"certificateDirectory,omitempty"`
}

// CertificateSource specifies the issuer of a serving certificate.
//
// +kubebuilder:validation:Enum=SelfManaged;Mounted
type CertificateSource string

const (
	// CertificateSelfManaged means that the operator creates the certificate.
	CertificateSelfManaged CertificateSource = "SelfManaged"
	// CertificateMounted means that another component mounts the certificate.
	CertificateMounted CertificateSource = "Mounted"
)

// TLS configures TLS of the metrics server and the webhook server.
type TLS struct {
	// profile specifies the minimum TLS version and the ciphers, as defined by
	// OpenShift: Old, Intermediate or Modern. Cluster follows the APIServer
	// object "cluster" of config.openshift.io, including its changes, and
	// equals Intermediate if this object does not exist. Defaults to Cluster.
	// Live.
	//
	// +optional
	Profile TLSProfile `json:"profile,omitempty"`
}

// TLSProfile specifies the minimum TLS version and the ciphers of a server.
//
// +kubebuilder:validation:Enum=Cluster;Old;Intermediate;Modern
type TLSProfile string

const (
	// TLSProfileCluster follows the configuration of the cluster's API server.
	TLSProfileCluster TLSProfile = "Cluster"
	// TLSProfileOld requires TLS 1.0 and supports legacy clients.
	TLSProfileOld TLSProfile = "Old"
	// TLSProfileIntermediate requires TLS 1.2.
	TLSProfileIntermediate TLSProfile = "Intermediate"
	// TLSProfileModern requires TLS 1.3.
	TLSProfileModern TLSProfile = "Modern"
)
