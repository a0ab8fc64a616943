// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionType is the type of a condition in the status of a kind of this
// package.
type ConditionType string

// ConditionReason is the reason of a condition. The list of all reasons in
// docs/conditions.md is generated from this file.
type ConditionReason string

// Conditions of both kinds.
const (
	// ConditionReady summarises all other conditions. It is True only when
	// what is declared was found in place. It says nothing of the past: how a
	// running guest was started is told by StartNotHeld, which leaves it alone.
	// All conditions are as old as the operator's last look: while no manager
	// leads, as until the lease of one that died expires, nobody corrects them.
	//
	// Possible reasons when True: Ready.
	// When False: the reason of the first condition that is not as it should be.
	// When Unknown: Pending.
	ConditionReady ConditionType = "Ready"

	// ConditionAccepted says whether the spec can be carried out at all.
	//
	// Possible reasons when True: Accepted.
	// When False: BridgeBinding, NoMasqueradeInterface, ReservedPort,
	// InvalidPort, InvalidCIDR, NameTooLong, InvalidSpec, NotALauncherPod.
	ConditionAccepted ConditionType = "Accepted"

	// ConditionReconciling is there, and True, only while the operator works
	// towards the spec. (kstatus: InProgress.)
	//
	// Possible reasons when True: Progressing.
	ConditionReconciling ConditionType = "Reconciling"

	// ConditionStalled is there, and True, only while the operator cannot go
	// on without somebody's help. (kstatus: Failed.)
	//
	// Possible reasons when True: the reason of the condition that stalls.
	ConditionStalled ConditionType = "Stalled"
)

// Conditions of MeshedVirtualMachine.
const (
	// ConditionDependenciesAvailable says whether the kinds of KubeVirt and
	// Istio are served by this cluster.
	//
	// Possible reasons when True: Available.
	// When False: KubeVirtMissing, IstioMissing.
	// When Unknown: Pending.
	ConditionDependenciesAvailable ConditionType = "DependenciesAvailable"

	// ConditionServiceReady says whether the Service is in place.
	//
	// Possible reasons when True: Applied.
	// When False: Conflict, InvalidSpec, ApplyFailed, OutOfDate.
	// When Unknown: Pending.
	ConditionServiceReady ConditionType = "ServiceReady"

	// ConditionMeshPolicyApplied says whether the Istio objects are in place.
	//
	// Possible reasons when True: Applied.
	// When False: Conflict, InvalidSpec, ApplyFailed, OutOfDate.
	// When Unknown: Pending.
	ConditionMeshPolicyApplied ConditionType = "MeshPolicyApplied"

	// ConditionVirtualMachineReady mirrors KubeVirt's own Ready.
	//
	// Possible reasons when True: Running.
	// When False: NotCreated, Starting, Stopped, Paused, GuestNotReady,
	// Conflict, InvalidSpec, ApplyFailed, OutOfDate.
	// When Unknown: Pending.
	ConditionVirtualMachineReady ConditionType = "VirtualMachineReady"

	// ConditionNATProgrammed says whether every live virt-launcher pod that may
	// run the guest has the rules that the spec asks for, as read back from the
	// kernel. A migration's target that is held back until then does not count.
	//
	// Possible reasons when True: Programmed.
	// When False: NoPod, Programming, Conflict, InvalidSpec, ApplyFailed,
	// OutOfDate, or
	// the reason of the first PodNATConfiguration that is not Ready.
	// When Unknown: Pending.
	ConditionNATProgrammed ConditionType = "NATProgrammed"

	// ConditionConflicted is there, and True, only while an object that this
	// one needs exists and belongs to somebody else. It is never taken over.
	//
	// Possible reasons when True: Conflict.
	ConditionConflicted ConditionType = "Conflicted"

	// ConditionRestartRequired is there, and True, only while the running
	// guest or its pod differs from the spec in ways that need a restart. With
	// another spec.version than the pod's, no route of the mesh leads to it.
	//
	// Possible reasons when True: RestartRequired.
	ConditionRestartRequired ConditionType = "RestartRequired"

	// ConditionStartNotHeld is there, and True, only while a virt-launcher pod
	// lives whose guest was not held back until the pod's rules were verified,
	// although the spec asks for it. It says nothing of how the rules are now.
	//
	// Possible reasons when True: GateMissing, MigrationNotHeld, UnpausedEarly,
	// OwnStartStrategy.
	ConditionStartNotHeld ConditionType = "StartNotHeld"

	// ConditionPaused is there, and True, only while the annotation
	// meshvm.io/paused keeps the operator from acting.
	//
	// Possible reasons when True: Paused.
	ConditionPaused ConditionType = "Paused"
)

// Conditions of PodNATConfiguration.
const (
	// ConditionTargetResolved says whether the pod, its node and its network
	// namespace were found.
	//
	// Possible reasons when True: Resolved.
	// When False: PodNotFound, SandboxNotReady, NodeNotReady, ProxyMissing,
	// AmbientNotEnrolled, TargetGone.
	ConditionTargetResolved ConditionType = "TargetResolved"

	// ConditionProgrammed says whether the rules were written and read back.
	//
	// Possible reasons when True: Programmed.
	// When False: Programming, WriteFailed, ReadBackMismatch,
	// IdentityMismatch, KernelUnsupported, RequestRefused, TargetGone, Drifted,
	// SandboxRecreated, NodeRebooted, Contended, or the reason for
	// Accepted=False.
	ConditionProgrammed ConditionType = "Programmed"
)

// Reasons of both kinds.
const (
	// ReasonReady: everything declared is in place.
	ReasonReady ConditionReason = "Ready"
	// ReasonPending: not looked at yet.
	ReasonPending ConditionReason = "Pending"
	// ReasonProgressing: the operator is at work; the message says on what.
	ReasonProgressing ConditionReason = "Progressing"
	// ReasonAccepted: the spec can be carried out.
	ReasonAccepted ConditionReason = "Accepted"
	// ReasonInvalidSpec: the API server or a webhook refused an object made
	// from the spec; the message holds its answer.
	ReasonInvalidSpec ConditionReason = "InvalidSpec"
	// ReasonInvalidPort: a port list holds an unknown or a duplicate port, or lacks
	// one at which the running guest is probed.
	ReasonInvalidPort ConditionReason = "InvalidPort"
	// ReasonReservedPort: a port belongs to the mesh proxy or to KubeVirt.
	ReasonReservedPort ConditionReason = "ReservedPort"
	// ReasonInvalidCIDR: a network does not parse.
	ReasonInvalidCIDR ConditionReason = "InvalidCIDR"
)

// Reasons of MeshedVirtualMachine.
const (
	// ReasonBridgeBinding: the primary interface uses the bridge binding,
	// which leaves nothing in the pod for the mesh to redirect.
	ReasonBridgeBinding ConditionReason = "BridgeBinding"
	// ReasonNoMasqueradeInterface: no interface with masquerade binding is
	// connected to the pod network.
	ReasonNoMasqueradeInterface ConditionReason = "NoMasqueradeInterface"
	// ReasonNameTooLong: the name is longer than live migration can take.
	ReasonNameTooLong ConditionReason = "NameTooLong"
	// ReasonAvailable: KubeVirt and Istio are installed.
	ReasonAvailable ConditionReason = "Available"
	// ReasonKubeVirtMissing: KubeVirt's VirtualMachine kind is not served.
	ReasonKubeVirtMissing ConditionReason = "KubeVirtMissing"
	// ReasonIstioMissing: one of Istio's kinds is not served.
	ReasonIstioMissing ConditionReason = "IstioMissing"
	// ReasonRunning: the guest runs and KubeVirt calls it ready.
	ReasonRunning ConditionReason = "Running"
	// ReasonNotCreated: there is no VirtualMachine yet.
	ReasonNotCreated ConditionReason = "NotCreated"
	// ReasonStarting: the guest is being started.
	ReasonStarting ConditionReason = "Starting"
	// ReasonStopped: the VirtualMachine is stopped, as its run strategy says.
	ReasonStopped ConditionReason = "Stopped"
	// ReasonPaused: the guest, or the operator, is paused on purpose.
	ReasonPaused ConditionReason = "Paused"
	// ReasonGuestNotReady: the guest runs but KubeVirt does not call it ready.
	ReasonGuestNotReady ConditionReason = "GuestNotReady"
	// ReasonApplied: the object is in place as wanted.
	ReasonApplied ConditionReason = "Applied"
	// ReasonApplyFailed: writing the object failed; it is tried again.
	ReasonApplyFailed ConditionReason = "ApplyFailed"
	// ReasonOutOfDate: the object differs from the spec and is left so, while
	// the operator is paused or until what the object needs is in place.
	ReasonOutOfDate ConditionReason = "OutOfDate"
	// ReasonConflict: an object of that name belongs to somebody else.
	ReasonConflict ConditionReason = "Conflict"
	// ReasonNoPod: there is no live virt-launcher pod.
	ReasonNoPod ConditionReason = "NoPod"
	// ReasonRestartRequired: the message says what a restart is waited for.
	ReasonRestartRequired ConditionReason = "RestartRequired"
	// ReasonGateMissing: a pod was made without what holds back the guest: the
	// container, or with the start gate Pause the start strategy.
	ReasonGateMissing ConditionReason = "GateMissing"
	// ReasonMigrationNotHeld: the operator holds back guests by starting them
	// paused, which KubeVirt does not do on the target of a live migration.
	ReasonMigrationNotHeld ConditionReason = "MigrationNotHeld"
	// ReasonUnpausedEarly: the operator had the guest started paused, and
	// somebody else let it run before its rules were verified.
	ReasonUnpausedEarly ConditionReason = "UnpausedEarly"
	// ReasonOwnStartStrategy: the operator holds back guests by starting them
	// paused, and the spec has a start strategy of its own.
	ReasonOwnStartStrategy ConditionReason = "OwnStartStrategy"
)

// Reasons of PodNATConfiguration.
const (
	// ReasonResolved: the pod and its sandbox were found.
	ReasonResolved ConditionReason = "Resolved"
	// ReasonNotALauncherPod: the pod is not a virt-launcher pod of this
	// namespace.
	ReasonNotALauncherPod ConditionReason = "NotALauncherPod"
	// ReasonPodNotFound: there is no pod of that name and UID.
	ReasonPodNotFound ConditionReason = "PodNotFound"
	// ReasonSandboxNotReady: the pod has no network namespace or no address
	// yet.
	ReasonSandboxNotReady ConditionReason = "SandboxNotReady"
	// ReasonNodeNotReady: the pod's node does not answer.
	ReasonNodeNotReady ConditionReason = "NodeNotReady"
	// ReasonProxyMissing: the pod was made without the mesh's proxy.
	ReasonProxyMissing ConditionReason = "ProxyMissing"
	// ReasonAmbientNotEnrolled: istio-cni has not enrolled the pod in ambient
	// mode. It does so while the pod starts; when it has not a minute later, it
	// is not installed, has no ambient mode, or the node has no ztunnel.
	ReasonAmbientNotEnrolled ConditionReason = "AmbientNotEnrolled"
	// ReasonTargetGone: the node has no process of the pod.
	ReasonTargetGone ConditionReason = "TargetGone"
	// ReasonProgrammed: the rules were read back from the kernel and are
	// those of the spec.
	ReasonProgrammed ConditionReason = "Programmed"
	// ReasonProgramming: the rule-writer is at work.
	ReasonProgramming ConditionReason = "Programming"
	// ReasonWriteFailed: the rule-writer failed; it is tried again.
	ReasonWriteFailed ConditionReason = "WriteFailed"
	// ReasonReadBackMismatch: what was read back is not what was written.
	ReasonReadBackMismatch ConditionReason = "ReadBackMismatch"
	// ReasonIdentityMismatch: the network namespace found has none of the
	// pod's addresses.
	ReasonIdentityMismatch ConditionReason = "IdentityMismatch"
	// ReasonKernelUnsupported: the node's kernel cannot hold the rules.
	ReasonKernelUnsupported ConditionReason = "KernelUnsupported"
	// ReasonRequestRefused: the rule-writer refused the request.
	ReasonRequestRefused ConditionReason = "RequestRefused"
	// ReasonDrifted: an audit found the rules changed or gone, or the pod's own
	// gate no longer saw them; they are written again.
	ReasonDrifted ConditionReason = "Drifted"
	// ReasonSandboxRecreated: the pod got another network namespace, without
	// rules; they are written again.
	ReasonSandboxRecreated ConditionReason = "SandboxRecreated"
	// ReasonNodeRebooted: the pod's node started anew, which loses all rules;
	// they are written again.
	ReasonNodeRebooted ConditionReason = "NodeRebooted"
	// ReasonContended: somebody else changes the rules again and again. The
	// operator does not fight: it waits, and writes them again when the window
	// is over. See status.repairs.
	ReasonContended ConditionReason = "Contended"
)
