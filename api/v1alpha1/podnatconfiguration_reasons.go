// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions of PodNATConfiguration.
const (
	// ConditionTargetResolved reports whether the pod, its node and its network
	// namespace were found.
	//
	// Possible reasons when True: Resolved.
	// When False: PodNotFound, SandboxNotReady, NodeNotReady, ProxyMissing,
	// AmbientNotEnrolled, TargetGone.
	ConditionTargetResolved ConditionType = "TargetResolved"

	// ConditionProgrammed reports whether the rules were written and verified
	// by reading them back.
	//
	// Possible reasons when True: Programmed.
	// When False: Programming, WriteFailed, ReadBackMismatch, IdentityMismatch,
	// KernelUnsupported, RequestRejected, TargetGone, Drifted, SandboxRecreated,
	// NodeRebooted, Contended, or the reason for Accepted=False.
	ConditionProgrammed ConditionType = "Programmed"

	// ConditionProxyConfigured reports whether the pod's sidecar runs the mutual TLS
	// modes that Istio's policies request, with a valid certificate of the pod's service
	// account. It is present after an audit has read the sidecar, and does not affect
	// Ready.
	//
	// Possible reasons when True: Configured.
	// When False: ProxyUnreadable, ProxyNotLive, ProxyRejected, ProxyDiffers,
	// CertificateInvalid, ProxyStale.
	// When Unknown: Pending.
	ConditionProxyConfigured ConditionType = "ProxyConfigured"
)

// Reasons of PodNATConfiguration.
const (
	// ReasonResolved: the pod and its sandbox were found.
	ReasonResolved ConditionReason = "Resolved"
	// ReasonNotALauncherPod: the pod is not a virt-launcher pod in this
	// namespace.
	ReasonNotALauncherPod ConditionReason = "NotALauncherPod"
	// ReasonPodNotFound: no pod with this name and UID exists.
	ReasonPodNotFound ConditionReason = "PodNotFound"
	// ReasonSandboxNotReady: the pod does not have a network namespace or an
	// address yet.
	ReasonSandboxNotReady ConditionReason = "SandboxNotReady"
	// ReasonNodeNotReady: the pod's node is not ready.
	ReasonNodeNotReady ConditionReason = "NodeNotReady"
	// ReasonProxyMissing: the pod was created without a mesh proxy.
	ReasonProxyMissing ConditionReason = "ProxyMissing"
	// ReasonAmbientNotEnrolled: istio-cni has not enrolled the pod in ambient
	// mode. Enrollment happens while the pod starts. If it is missing after one
	// minute, istio-cni is not installed or not in ambient mode, or the node
	// does not run ztunnel.
	ReasonAmbientNotEnrolled ConditionReason = "AmbientNotEnrolled"
	// ReasonTargetGone: the node does not run a process of the pod.
	ReasonTargetGone ConditionReason = "TargetGone"
	// ReasonProgrammed: the rules that were read back from the kernel match the
	// spec.
	ReasonProgrammed ConditionReason = "Programmed"
	// ReasonProgramming: a rule-writer Job is running.
	ReasonProgramming ConditionReason = "Programming"
	// ReasonWriteFailed: the rule-writer failed. The operator retries.
	ReasonWriteFailed ConditionReason = "WriteFailed"
	// ReasonReadBackMismatch: the rules that were read back differ from the
	// rules that were written.
	ReasonReadBackMismatch ConditionReason = "ReadBackMismatch"
	// ReasonIdentityMismatch: the network namespace does not have any of the
	// pod's addresses.
	ReasonIdentityMismatch ConditionReason = "IdentityMismatch"
	// ReasonKernelUnsupported: the node's kernel does not support the rules.
	ReasonKernelUnsupported ConditionReason = "KernelUnsupported"
	// ReasonRequestRejected: the rule-writer rejected the request.
	ReasonRequestRejected ConditionReason = "RequestRejected"
	// ReasonDrifted: an audit found the rules changed or missing, or the pod's
	// start gate no longer detected them. The operator writes them again.
	ReasonDrifted ConditionReason = "Drifted"
	// ReasonSandboxRecreated: the pod has a new network namespace without
	// rules. The operator writes them again.
	ReasonSandboxRecreated ConditionReason = "SandboxRecreated"
	// ReasonNodeRebooted: the pod's node was rebooted, which removes all rules.
	// The operator writes them again.
	ReasonNodeRebooted ConditionReason = "NodeRebooted"
	// ReasonContended: another process keeps changing the rules. The operator
	// suspends repairs until the window ends. See status.repairs.
	ReasonContended ConditionReason = "Contended"
	// ReasonConfigured: the proxy runs the mutual TLS modes of Istio's policies.
	ReasonConfigured ConditionReason = "Configured"
	// ReasonProxyUnreadable: the last audit could not read the proxy.
	ReasonProxyUnreadable ConditionReason = "ProxyUnreadable"
	// ReasonProxyNotLive: the proxy is starting or draining.
	ReasonProxyNotLive ConditionReason = "ProxyNotLive"
	// ReasonProxyRejected: the proxy rejected the last configuration of a listener.
	ReasonProxyRejected ConditionReason = "ProxyRejected"
	// ReasonProxyDiffers: the proxy runs other mutual TLS modes than Istio's
	// policies request. Either Istio has not sent the configuration yet, or another
	// object, for example an EnvoyFilter, changes it.
	ReasonProxyDiffers ConditionReason = "ProxyDiffers"
	// ReasonCertificateInvalid: the proxy has no certificate of the pod's service
	// account, or the certificate has expired.
	ReasonCertificateInvalid ConditionReason = "CertificateInvalid"
	// ReasonProxyStale: the proxy is not connected to Istio.
	ReasonProxyStale ConditionReason = "ProxyStale"
)
