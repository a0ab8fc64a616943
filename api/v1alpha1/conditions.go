// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionType is the type of a condition in the status of the kinds of this
// package.
type ConditionType string

// ConditionReason is the reason of a condition. The list of all reasons in
// docs/conditions.md is generated from this file and the files *_reasons.go.
type ConditionReason string

// Conditions of several kinds.
const (
	// ConditionReady summarizes the conditions that are always present. It is True
	// only if they are True. Changes that take effect at the next start of the
	// guest do not affect it: RestartRequired reports them. It does not cover the
	// past: StartNotHeld reports how a running guest was started. Only the
	// leading manager updates conditions. If it fails, conditions can be outdated
	// until its lease expires.
	//
	// Possible reasons when True: Ready, Stopped.
	// When False: Terminating, or the reason of the first condition that does
	// not have its desired status.
	// When Unknown: Pending.
	ConditionReady ConditionType = "Ready"

	// ConditionAccepted reports whether the spec is valid and supported.
	//
	// Possible reasons when True: Accepted.
	// When False: BridgeBinding, NoMasqueradeInterface, ReservedPort, InvalidPort, InvalidCIDR, NameTooLong, InvalidSpec,
	// HostNotAllowed, GatewayNotAllowed, WaypointRequired, ServiceAccountNotFound, PatchesDisabled, ServiceConflict,
	// VirtualMachineNotFound, VirtualMachineConflict, ConsentMissing, FieldConflict, NotALauncherPod,
	// MachineNotFound, PodNotFound, PortNotFound.
	// When Unknown: Pending.
	ConditionAccepted ConditionType = "Accepted"

	// ConditionReconciling is present and True only while the operator is
	// working towards the spec. (kstatus: InProgress.)
	//
	// Possible reasons when True: Progressing.
	ConditionReconciling ConditionType = "Reconciling"

	// ConditionStalled is present and True only while the operator cannot
	// continue without intervention by a user or an administrator. (kstatus:
	// Failed.)
	//
	// Possible reasons when True: the reason of the condition that is stalled.
	ConditionStalled ConditionType = "Stalled"
)

// Conditions of MeshedVirtualMachine.
const (
	// ConditionDependenciesAvailable reports whether the API server serves the
	// kinds of KubeVirt and Istio.
	//
	// Possible reasons when True: Available.
	// When False: KubeVirtMissing, IstioMissing.
	// When Unknown: Pending.
	ConditionDependenciesAvailable ConditionType = "DependenciesAvailable"

	// ConditionServiceReady reports whether the Service is applied.
	//
	// Possible reasons when True: Applied.
	// When False: Conflict, InvalidSpec, QuotaExceeded, Forbidden, PatchRefused,
	// ApplyFailed, OutOfDate.
	// When Unknown: Pending.
	ConditionServiceReady ConditionType = "ServiceReady"

	// ConditionMeshPolicyApplied reports whether the Istio objects are applied. After an
	// audit has read the guest's proxy, it also reports whether the proxy runs them
	// (condition ProxyConfigured of the PodNATConfiguration).
	//
	// Possible reasons when True: Applied.
	// When False: Conflict, InvalidSpec, FieldUnsupported, QuotaExceeded,
	// Forbidden, IstioMissing, PatchRefused, ApplyFailed, OutOfDate, ProxyRejected,
	// ProxyDiffers, CertificateInvalid.
	// When Unknown: Pending.
	ConditionMeshPolicyApplied ConditionType = "MeshPolicyApplied"

	// ConditionMeshPolicyEffective reports whether the declared mutual TLS modes, routes and traffic policy are in
	// effect as far as these objects decide: no other PeerAuthentication, VirtualService or DestinationRule has
	// precedence, and no AuthorizationPolicy of the root namespace closes a port. If the spec configures telemetry, no
	// newer Telemetry overrides it. If it limits outbound connections, no older Sidecar applies instead. No
	// ServiceEntry adds endpoints to the Service. If the spec names gateways, the Gateways exist and permit the hosts.
	// Policies are evaluated for existing virt-launcher pods. The condition evaluates objects of these kinds in the
	// namespace of the guest and, for policies, in the root namespace that mesh.rootNamespace of the OperatorConfiguration names. It does not evaluate
	// other objects that can change the traffic: Sidecars of clients, EnvoyFilter, WasmPlugin,
	// RequestAuthentication, routes of the Gateway API, policies of waypoints, and Istio's mesh configuration. A port that is
	// closed by policies of the guest's own namespace alone is reported while the condition is True. If the spec
	// restricts clients, the message also names AuthorizationPolicies with action ALLOW that the operator did not
	// create and that can allow other clients. They do not change the status.
	//
	// Possible reasons when True: Effective, PortsDenied.
	// When False: Shadowed, SubsetMissing, OutOfDate, PortsDenied, PodLabelsChanged,
	// WaypointNotReady, GatewayNotFound, GatewayRefusesHost.
	// When Unknown: Pending.
	ConditionMeshPolicyEffective ConditionType = "MeshPolicyEffective"

	// ConditionVirtualMachineReady reports the condition Ready of the KubeVirt
	// VirtualMachine. It is also True while the guest is stopped, as its run
	// strategy specifies.
	//
	// Possible reasons when True: Running, Stopped.
	// When False: NotCreated, Starting, Provisioning, VolumeFailed,
	// Unschedulable, ImagePullFailed, CrashLoop, Stopping, GuestFailed, Paused,
	// GuestNotReady, LinkDown, Conflict, InvalidSpec, FieldUnsupported,
	// QuotaExceeded, Forbidden, ApplyFailed, OutOfDate.
	// When Unknown: Pending.
	ConditionVirtualMachineReady ConditionType = "VirtualMachineReady"

	// ConditionNATProgrammed reports whether the rules that were read back from
	// the kernel match the spec in every running virt-launcher pod that may run
	// the guest. The target of a migration is not considered while its guest is
	// delayed. It is True without a pod only while the guest is stopped, as its
	// run strategy specifies.
	//
	// Possible reasons when True: Programmed, NoPod.
	// When False: NoPod, Programming, Conflict, InvalidSpec, QuotaExceeded,
	// Forbidden, ApplyFailed, OutOfDate, or the reason of the first PodNATConfiguration that is not
	// Ready.
	// When Unknown: Pending.
	ConditionNATProgrammed ConditionType = "NATProgrammed"

	// ConditionConflicted is present and True only while a required object
	// exists that is controlled neither by this MeshedVirtualMachine nor, for the
	// objects of a shared Service, by another member. The operator takes over an
	// object if its labels name this MeshedVirtualMachine and it has no
	// controller, as after a restore. The lead of a Service also takes over the
	// objects of the Service from other members.
	//
	// Possible reasons when True: Conflict.
	ConditionConflicted ConditionType = "Conflicted"

	// ConditionRestartRequired is present and True only while the running guest
	// or its pod differs from the spec in a way that requires a restart: fields
	// that KubeVirt cannot change while the guest runs, mesh.dataPlane,
	// mesh.identity, start, and labels and annotations of the template. If the version differs, the message
	// contains the version of the pod and the version that takes effect at the next
	// start.
	//
	// Possible reasons when True: RestartRequired, SidecarMissing.
	ConditionRestartRequired ConditionType = "RestartRequired"

	// ConditionVirtualMachineAdjusted is present and True only while volumes,
	// disks, interfaces or other list entries of the VirtualMachine were added,
	// moved or removed by other clients, for example by a restore or a hotplug.
	// The operator keeps these changes. While the spec is not accepted, they refer
	// to the last accepted spec. It does not affect Ready.
	//
	// Possible reasons when True: ForeignEntries.
	ConditionVirtualMachineAdjusted ConditionType = "VirtualMachineAdjusted"

	// ConditionPatched is present only while the spec contains patches. While a patch is
	// refused, it is False, the object remains as it was applied last, and Ready is False.
	//
	// Possible reasons when True: Applied. When False: PatchRefused.
	ConditionPatched ConditionType = "Patched"

	// ConditionStrayGuests is present and True only while VirtualMachineInstances
	// exist that have the label of this MeshedVirtualMachine but are not
	// controlled by it, for example clones. It does not affect Ready.
	//
	// Possible reasons when True: CopiedLabels.
	ConditionStrayGuests ConditionType = "StrayGuests"

	// ConditionStartNotHeld is present and True only while a virt-launcher pod
	// is running whose guest was started before the rules of the pod were
	// verified, although the spec requires verification first. It does not
	// report the current state of the rules.
	//
	// Possible reasons when True: GateMissing, MigrationNotHeld, UnpausedEarly,
	// OwnStartStrategy.
	ConditionStartNotHeld ConditionType = "StartNotHeld"

	// ConditionServiceShared is present and True only while several
	// MeshedVirtualMachines share the Service. The message names them, the lead
	// first, and the settings of this object that have no effect because the lead
	// has other values. It does not affect Ready.
	//
	// Possible reasons when True: SeveralMembers.
	ConditionServiceShared ConditionType = "ServiceShared"

	// ConditionTrafficShifted is present and True only while the routes of a shared
	// Service send traffic of a version that does not serve to other versions. It
	// does not affect Ready.
	//
	// Possible reasons when True: VersionNotServing.
	ConditionTrafficShifted ConditionType = "TrafficShifted"

	// ConditionPaused is present while the annotation meshvm.io/paused is set. It
	// is True while the annotation suspends reconciliation, and False while it
	// has a value without effect, other than "false".
	//
	// Possible reasons when True: Paused.
	// When False: AnnotationIgnored.
	ConditionPaused ConditionType = "Paused"
)

// Reasons of several kinds.
const (
	// ReasonReady: every condition that Ready summarizes is True.
	ReasonReady ConditionReason = "Ready"
	// ReasonPending: the operator has not checked this yet, or does not check it
	// because the object is being deleted.
	ReasonPending ConditionReason = "Pending"
	// ReasonProgressing: the operator is working towards the spec. The message
	// contains the current step.
	ReasonProgressing ConditionReason = "Progressing"
	// ReasonAccepted: the spec is valid and supported.
	ReasonAccepted ConditionReason = "Accepted"
	// ReasonInvalidSpec: the API server or an admission webhook rejected an
	// object that was built from the spec. The message contains the error.
	ReasonInvalidSpec ConditionReason = "InvalidSpec"
	// ReasonHostNotAllowed: a host of a route is the name of another Service or of
	// the cluster, or is too general, or a destination is in another namespace.
	ReasonHostNotAllowed ConditionReason = "HostNotAllowed"
	// ReasonGatewayNotAllowed: the administrator does not permit a gateway of the
	// spec (tenancy.gateways of the OperatorConfiguration).
	ReasonGatewayNotAllowed ConditionReason = "GatewayNotAllowed"
	// ReasonWaypointRequired: the spec uses attributes of HTTP requests in ambient
	// mode without mesh.waypoint.
	ReasonWaypointRequired ConditionReason = "WaypointRequired"
	// ReasonPatchesDisabled: the administrator does not permit patches
	// (tenancy.patches of the OperatorConfiguration).
	ReasonPatchesDisabled ConditionReason = "PatchesDisabled"
	// ReasonPatchRefused: a patch of the spec violates a limit of patches or cannot be
	// applied. The message contains the index of the patch and the field.
	ReasonPatchRefused ConditionReason = "PatchRefused"
	// ReasonInvalidPort: a list of ports contains an unknown or duplicate port,
	// or does not contain a port that the kubelet probes in the running guest.
	ReasonInvalidPort ConditionReason = "InvalidPort"
	// ReasonReservedPort: a port is reserved for the mesh proxy, the start gate
	// or KubeVirt.
	ReasonReservedPort ConditionReason = "ReservedPort"
	// ReasonInvalidCIDR: a network is not a valid CIDR.
	ReasonInvalidCIDR ConditionReason = "InvalidCIDR"
)

// Reasons of MeshedVirtualMachine.
const (
	// ReasonBridgeBinding: the primary interface uses the bridge binding, with
	// which the traffic of the guest cannot be redirected in the pod.
	ReasonBridgeBinding ConditionReason = "BridgeBinding"
	// ReasonNoMasqueradeInterface: no interface with the masquerade binding is
	// connected to the pod network.
	ReasonNoMasqueradeInterface ConditionReason = "NoMasqueradeInterface"
	// ReasonNameTooLong: the name exceeds the maximum length for live
	// migration.
	ReasonNameTooLong ConditionReason = "NameTooLong"
	// ReasonServiceAccountNotFound: the service account of mesh.identity does not
	// exist. The operator checks again after at most 30 seconds.
	ReasonServiceAccountNotFound ConditionReason = "ServiceAccountNotFound"
	// ReasonServiceConflict: the spec contradicts another MeshedVirtualMachine with
	// the same service.name: other ports, another data plane, a type to or from
	// Headless, another percentage of the same version, or percentages whose sum is 0
	// or above 100. It is also the reason if 32 older ones have this service.name. The
	// traffic percentages remain as they were.
	ReasonServiceConflict ConditionReason = "ServiceConflict"
	// ReasonSeveralMembers: several MeshedVirtualMachines have the same service.name.
	ReasonSeveralMembers ConditionReason = "SeveralMembers"
	// ReasonVersionNotServing: no guest of a version serves, or it has served for
	// less than 30 seconds.
	ReasonVersionNotServing ConditionReason = "VersionNotServing"
	// ReasonTerminating: the object is being deleted. The message contains what
	// the deletion waits for.
	ReasonTerminating ConditionReason = "Terminating"
	// ReasonAvailable: KubeVirt and Istio are installed.
	ReasonAvailable ConditionReason = "Available"
	// ReasonKubeVirtMissing: the API server does not serve the KubeVirt kind
	// VirtualMachine.
	ReasonKubeVirtMissing ConditionReason = "KubeVirtMissing"
	// ReasonIstioMissing: the API server does not serve a required Istio kind.
	ReasonIstioMissing ConditionReason = "IstioMissing"
	// ReasonRunning: the guest is running and KubeVirt reports it as ready.
	ReasonRunning ConditionReason = "Running"
	// ReasonNotCreated: the VirtualMachine does not exist yet.
	ReasonNotCreated ConditionReason = "NotCreated"
	// ReasonStarting: the guest is starting.
	ReasonStarting ConditionReason = "Starting"
	// ReasonProvisioning: KubeVirt waits for the volumes of the guest, for
	// example for the import of a disk.
	ReasonProvisioning ConditionReason = "Provisioning"
	// ReasonVolumeFailed: a volume of the guest is missing, or its import
	// failed.
	ReasonVolumeFailed ConditionReason = "VolumeFailed"
	// ReasonUnschedulable: no node can run the pod of the guest.
	ReasonUnschedulable ConditionReason = "Unschedulable"
	// ReasonImagePullFailed: the node cannot pull an image of the pod.
	ReasonImagePullFailed ConditionReason = "ImagePullFailed"
	// ReasonCrashLoop: the guest, or a container of its pod, fails repeatedly.
	ReasonCrashLoop ConditionReason = "CrashLoop"
	// ReasonStopping: KubeVirt is shutting down the guest.
	ReasonStopping ConditionReason = "Stopping"
	// ReasonFieldUnsupported: the version of KubeVirt or Istio in the cluster does
	// not have a field of the spec. The message contains the path of the field and
	// the version. The operator retries when the CRD changes.
	ReasonFieldUnsupported ConditionReason = "FieldUnsupported"
	// ReasonStopped: the guest is stopped, and its run strategy does not start
	// it.
	ReasonStopped ConditionReason = "Stopped"
	// ReasonGuestFailed: the guest has failed, and its run strategy does not
	// start it again. The message contains the resolution.
	ReasonGuestFailed ConditionReason = "GuestFailed"
	// ReasonPaused: the guest is paused, or reconciliation is suspended by the
	// annotation meshvm.io/paused.
	ReasonPaused ConditionReason = "Paused"
	// ReasonAnnotationIgnored: the value of the annotation meshvm.io/paused is
	// not "true", so it does not suspend reconciliation.
	ReasonAnnotationIgnored ConditionReason = "AnnotationIgnored"
	// ReasonGuestNotReady: the guest is running but KubeVirt does not report it
	// as ready.
	ReasonGuestNotReady ConditionReason = "GuestNotReady"
	// ReasonLinkDown: the guest is running, and its interface on the pod network
	// is down.
	ReasonLinkDown ConditionReason = "LinkDown"
	// ReasonApplied: the object is applied as specified.
	ReasonApplied ConditionReason = "Applied"
	// ReasonPodLabelsChanged: a running virt-launcher pod lacks labels by which
	// KubeVirt, the Service and the mesh policy select it. The message contains
	// the command that restores them, or recommends a restart of a guest that
	// started without them.
	ReasonPodLabelsChanged ConditionReason = "PodLabelsChanged"
	// ReasonQuotaExceeded: a ResourceQuota of the namespace does not permit the
	// object. The message contains the error of the API server. The operator
	// retries.
	ReasonQuotaExceeded ConditionReason = "QuotaExceeded"
	// ReasonForbidden: the API server does not permit the operator to write the
	// object or to list objects of its kind, for example because an RBAC
	// permission is missing. The message contains the error of the API server.
	// The operator retries.
	ReasonForbidden ConditionReason = "Forbidden"
	// ReasonApplyFailed: writing the object failed. The operator retries.
	ReasonApplyFailed ConditionReason = "ApplyFailed"
	// ReasonOutOfDate: the object differs from the spec and is not updated
	// while reconciliation is paused, until a prerequisite of the object is
	// available, or until an operation of KubeVirt completes.
	ReasonOutOfDate ConditionReason = "OutOfDate"
	// ReasonConflict: an object of the same name exists that is not controlled
	// by this MeshedVirtualMachine.
	ReasonConflict ConditionReason = "Conflict"
	// ReasonNoPod: no virt-launcher pod is running.
	ReasonNoPod ConditionReason = "NoPod"
	// ReasonRestartRequired: the message lists the differences that require a
	// restart.
	ReasonRestartRequired ConditionReason = "RestartRequired"
	// ReasonForeignEntries: the message lists the entries, their field managers
	// and how to keep or undo the changes.
	ReasonForeignEntries ConditionReason = "ForeignEntries"
	// ReasonCopiedLabels: the labels of the VirtualMachine were copied to another
	// VirtualMachine. The message names the guests.
	ReasonCopiedLabels ConditionReason = "CopiedLabels"
	// ReasonGateMissing: a pod was created without the mechanism that delays
	// the guest. This is the start gate container or, with start gate Pause,
	// the start strategy.
	ReasonGateMissing ConditionReason = "GateMissing"
	// ReasonMigrationNotHeld: the start gate is Pause, which does not delay the
	// guest on the target of a live migration.
	ReasonMigrationNotHeld ConditionReason = "MigrationNotHeld"
	// ReasonUnpausedEarly: the guest was started paused, and another client
	// unpaused it before the rules were verified.
	ReasonUnpausedEarly ConditionReason = "UnpausedEarly"
	// ReasonOwnStartStrategy: the start gate is Pause, but the spec sets a start
	// strategy.
	ReasonOwnStartStrategy ConditionReason = "OwnStartStrategy"
)
