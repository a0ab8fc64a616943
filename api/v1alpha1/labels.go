// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Labels, annotations, finalizers and names that the operator writes or reads.
const (
	// LabelManagedBy identifies the objects that the operator created. Its value
	// is ManagedByValue. (Kubernetes: recommended labels.)
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedByValue is the value of LabelManagedBy.
	ManagedByValue = "meshvm"
	// LabelMeshedVirtualMachine contains the name of the MeshedVirtualMachine
	// that an object belongs to.
	LabelMeshedVirtualMachine = "meshvm.io/meshed-virtual-machine"
	// LabelService, in the template of a VirtualMachine and therefore on its
	// virt-launcher pods, contains the name of the Service that selects the pods.
	// It is also a label of the Service, the VirtualServices and the DestinationRule.
	LabelService = "meshvm.io/service"
	// LabelPodNATConfiguration contains the UID of the PodNATConfiguration of a
	// rule-writer Job.
	LabelPodNATConfiguration = "meshvm.io/pod-nat-configuration"
	// LabelStartGate, in the template of a VirtualMachine and therefore on its
	// virt-launcher pods, requests the start gate container from the operator's
	// webhook. Its value is StartGateContainer or StartGateWatch.
	LabelStartGate = "meshvm.io/start-gate"
	// StartGateContainer is the value of LabelStartGate for a container that
	// delays the guest until the rules of its pod are verified.
	StartGateContainer = "Container"
	// StartGateWatch is the value of LabelStartGate for a container that delays
	// the readiness of the pod until its rules are verified, but not the guest.
	StartGateWatch = "Watch"
	// LabelAuditNode, on an audit Job and its pod, contains the hash of the name
	// of the node, because the name can exceed the length of a label value.
	LabelAuditNode = "meshvm.io/audit-node"

	// LabelTraceNamespace, on the Job of a ConnectionTrace and its pod, contains the
	// namespace of the ConnectionTrace.
	LabelTraceNamespace = "meshvm.io/trace-namespace"
	// LabelTracedPod, on the Job of a ConnectionTrace and its pod, contains the UID
	// of the traced pod.
	LabelTracedPod = "meshvm.io/traced-pod"

	// AnnotationTrace, on the Job of a ConnectionTrace and its pod, contains
	// NAMESPACE/NAME of the ConnectionTrace, and AnnotationTraceUID its UID.
	AnnotationTrace    = "meshvm.io/trace"
	AnnotationTraceUID = "meshvm.io/trace-uid"
	// AnnotationAuditNode, on an audit Job and its pod, contains the name of the
	// node.
	AnnotationAuditNode = "meshvm.io/audit-node"
	// AnnotationAuditTargets, on an audit Job and its pod, lists the audited
	// PodNATConfigurations and their state when the audit started.
	AnnotationAuditTargets = "meshvm.io/audit-targets"
	// AnnotationBootID, on a rule-writer Job, contains the boot ID of the node
	// when the Job was created.
	AnnotationBootID = "meshvm.io/boot-id"
	// AnnotationSandboxTime, on a rule-writer Job, contains the time at which the
	// kubelet reported the pod's network namespace for which the Job was created.
	AnnotationSandboxTime = "meshvm.io/sandbox-time"
	// AnnotationRuleRequest, on a rule-writer pod, contains the encoded request.
	// The pod reads it through the downward API.
	AnnotationRuleRequest = "meshvm.io/rule-request"
	// AnnotationRuleOwner, on a rule-writer Job and its pod, contains
	// NAMESPACE/NAME of the PodNATConfiguration. An owner reference is not
	// possible because the PodNATConfiguration is in another namespace.
	AnnotationRuleOwner = "meshvm.io/rule-owner"
	// AnnotationMutualTLS, on a PodNATConfiguration, contains the mutual TLS modes that
	// Istio's policies request for the mesh ports of the pod, for example
	// "8080=Strict,9090=Permissive". The proxy's state is compared with it.
	AnnotationMutualTLS = "meshvm.io/mutual-tls"
	// AnnotationAppliedDigest, on every object that the operator applied,
	// contains the SHA-256 digest of the applied configuration. It detects fields
	// that were removed from the configuration.
	AnnotationAppliedDigest = "meshvm.io/applied-digest"
	// AnnotationOwnedEntries, on a VirtualMachine, lists the entries of its volumes,
	// disks, interfaces and other lists that the operator owns. Other clients own
	// all other entries.
	AnnotationOwnedEntries = "meshvm.io/owned-entries"
	// AnnotationInferredFrom, on a VirtualMachine, contains the names of the
	// volumes from which KubeVirt inferred its instancetype and preference.
	AnnotationInferredFrom = "meshvm.io/inferred-from"
	// AnnotationMatchers, on a VirtualMachine, contains the instancetype and the
	// preference of the spec, which KubeVirt can replace with their fields.
	AnnotationMatchers = "meshvm.io/matchers"
	// AnnotationServiceAccount, in the template of a VirtualMachine and therefore on
	// its virt-launcher pods, contains the service account that the operator's webhook
	// sets.
	AnnotationServiceAccount = "meshvm.io/service-account"
	// AnnotationPaused, if "true" on a MeshedVirtualMachine, suspends its
	// reconciliation.
	AnnotationPaused = "meshvm.io/paused"

	// FinalizerRules, on a PodNATConfiguration, delays its deletion until the
	// operator's table is removed from a pod that is still running.
	FinalizerRules = "meshvm.io/rules"

	// FinalizerOrphan, on a MeshedVirtualMachine with deletionPolicy Orphan, delays its
	// deletion until the operator's labels are removed from its VirtualMachine.
	FinalizerOrphan = "meshvm.io/orphan"

	// FieldOwner is the field manager of server-side apply.
	FieldOwner = "meshvm"
	// AdoptionFieldOwner is the field manager of the labels and annotations that the
	// operator adds to the template of an existing VirtualMachine.
	AdoptionFieldOwner = "meshvm-adoption"
	// AnnotationAdoptedBy is set by users on a VirtualMachine. It contains the name of the
	// MeshedVirtualMachine that may adopt it.
	AnnotationAdoptedBy = "meshvm.io/adopted-by"

	// LabelApp contains the name of the workload in Istio's telemetry. (Istio:
	// application requirements.)
	LabelApp = "app"
	// LabelVersion contains the mesh subset of a pod.
	LabelVersion = "version"
	// LabelDataPlaneMode, on a pod, enrolls it in Istio's ambient mode if its
	// value is DataPlaneModeAmbient. (Istio: pod labels.)
	LabelDataPlaneMode = "istio.io/dataplane-mode"
	// DataPlaneModeAmbient is the value of LabelDataPlaneMode.
	DataPlaneModeAmbient = "ambient"
	// AnnotationAmbientRedirection, on a pod, is "pending" once istio-cni has
	// written its rules into the pod, and AmbientRedirectionEnabled once ztunnel
	// also knows the pod (Istio, cni/pkg/util, AnnotateEnrolledPod).
	AnnotationAmbientRedirection = "ambient.istio.io/redirection"
	// AmbientRedirectionEnabled is the value of AnnotationAmbientRedirection for
	// an enrolled pod.
	AmbientRedirectionEnabled = "enabled"
	// AnnotationAmbientDNSCapture, on a pod, enables ("true") or disables
	// ("false") Istio's DNS capture in ambient mode. It defaults to the
	// configuration of istio-cni.
	AnnotationAmbientDNSCapture = "ambient.istio.io/dns-capture"
	// AnnotationAmbientBypassInbound, on a pod, disables the redirection of
	// inbound connections to ztunnel.
	AnnotationAmbientBypassInbound = "ambient.istio.io/bypass-inbound-capture"
	// LabelSidecarInject, as a label, requests a sidecar from Istio's injector.
	// As an annotation of the VirtualMachineInstance it makes KubeVirt write the
	// Istio variant of its NAT rules (KubeVirt, pkg/network/istio/proxy.go).
	LabelSidecarInject = "sidecar.istio.io/inject"
)
