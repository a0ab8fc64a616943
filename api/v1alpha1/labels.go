// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels, annotations, finalizers and names that the operator writes or reads.
const (
	// LabelManagedBy marks every object that the operator made; its value is
	// ManagedByValue. (Kubernetes: recommended labels.)
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of LabelManagedBy.
	ManagedByValue = "meshvm"
	// LabelMeshedVirtualMachine holds the name of the MeshedVirtualMachine
	// that an object belongs to.
	LabelMeshedVirtualMachine = "meshvm.io/meshed-virtual-machine"
	// LabelPodNATConfiguration holds the UID of the PodNATConfiguration that
	// a rule-writer Job works for.
	LabelPodNATConfiguration = "meshvm.io/pod-nat-configuration"
	// LabelStartGate, on a VirtualMachine's template and so on its virt-launcher
	// pods, asks the operator's webhook for the container that holds back the
	// guest; its value is StartGateContainer or StartGateWatch.
	LabelStartGate = "meshvm.io/start-gate"
	// StartGateContainer is the value of LabelStartGate.
	StartGateContainer = "Container"
	// StartGateWatch is another value of LabelStartGate: it asks only for the
	// container that keeps the pod from being ready until its rules were
	// verified, and lets the guest start.
	StartGateWatch = "Watch"
	// LabelAuditNode, on an audit's Job and its pod, holds the hashed name of the
	// node that it is for: a node's name may be longer than a label's value.
	LabelAuditNode = "meshvm.io/audit-node"

	// AnnotationAuditNode, on an audit's Job and its pod, holds the node's name.
	AnnotationAuditNode = "meshvm.io/audit-node"
	// AnnotationAuditTargets, on an audit's Job and its pod, says which
	// PodNATConfigurations its targets belong to, and in which state they were.
	AnnotationAuditTargets = "meshvm.io/audit-targets"
	// AnnotationBootID, on a rule-writer Job, holds the boot of the node for
	// which it was made.
	AnnotationBootID = "meshvm.io/boot-id"
	// AnnotationSandboxTime, on a rule-writer Job, holds when the kubelet
	// reported the pod's network namespace for which it was made.
	AnnotationSandboxTime = "meshvm.io/sandbox-time"
	// AnnotationRuleRequest, on a rule-writer pod, holds the encoded request;
	// the pod reads it through the downward API.
	AnnotationRuleRequest = "meshvm.io/rule-request"
	// AnnotationRuleOwner, on a rule-writer Job and its pod, holds NAMESPACE/NAME of its
	// PodNATConfiguration, which lives in another namespace and so cannot be
	// an owner reference.
	AnnotationRuleOwner = "meshvm.io/rule-owner"
	// AnnotationAppliedDigest, on every object that the operator applied,
	// holds the SHA-256 of what it applied, so that a field that is no longer
	// wanted is noticed.
	AnnotationAppliedDigest = "meshvm.io/applied-digest"
	// AnnotationPaused, when "true" on a MeshedVirtualMachine, keeps the
	// operator from changing anything that belongs to it.
	AnnotationPaused = "meshvm.io/paused"

	// FinalizerRules, on a PodNATConfiguration, holds its deletion until our
	// table is gone from a pod that still lives.
	FinalizerRules = "meshvm.io/rules"

	// FieldOwner is the field manager of server-side apply.
	FieldOwner = "meshvm"

	// LabelApp and LabelVersion select the guest's pods for the Service and
	// for the DestinationRule's subset. (Istio: application requirements.)
	LabelApp = "app"
	// LabelVersion holds the mesh subset of a pod.
	LabelVersion = "version"
	// LabelDataPlaneMode, on a pod, enrols it in Istio's ambient mode when its
	// value is DataPlaneModeAmbient. (Istio: pod labels.)
	LabelDataPlaneMode = "istio.io/dataplane-mode"
	// DataPlaneModeAmbient is the value of LabelDataPlaneMode.
	DataPlaneModeAmbient = "ambient"
	// AnnotationAmbientRedirection, on a pod, is AmbientRedirectionEnabled once
	// istio-cni has written its rules into the pod and ztunnel knows it, and
	// "pending" between the two (Istio, cni/pkg/util, AnnotateEnrolledPod).
	AnnotationAmbientRedirection = "ambient.istio.io/redirection"
	// AmbientRedirectionEnabled is its value for a pod that is enrolled.
	AmbientRedirectionEnabled = "enabled"
	// AnnotationAmbientDNSCapture, on a pod, says "true" or "false" to Istio's
	// capture of its DNS in ambient mode; without it istio-cni's own setting
	// decides.
	AnnotationAmbientDNSCapture = "ambient.istio.io/dns-capture"
	// AnnotationAmbientBypassInbound, on a pod, keeps istio-cni from sending
	// inbound connections to ztunnel.
	AnnotationAmbientBypassInbound = "ambient.istio.io/bypass-inbound-capture"
	// LabelSidecarInject, as a label, asks Istio's injector for a sidecar; as
	// an annotation of the VMI it switches KubeVirt's own NAT to its Istio
	// branch (KubeVirt, pkg/network/istio/proxy.go).
	LabelSidecarInject = "sidecar.istio.io/inject"
)
