// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Turn is the person or program that must act next.
type Turn string

const (
	// TurnUser is the user who edits the MeshedVirtualMachine.
	TurnUser Turn = "you"
	// TurnAdministrator is an administrator of the cluster.
	TurnAdministrator Turn = "a cluster administrator"
	// TurnOperator is the operator of meshvm.
	TurnOperator Turn = "the operator"
	// TurnCluster is KubeVirt, Kubernetes or Istio.
	TurnCluster Turn = "the cluster"
)

// turns lists who must act for each reason of a condition that does not have its desired
// status. The source is docs/using.md, "When it is not Ready".
var turns = map[Turn][]v1alpha1.ConditionReason{
	TurnUser: {
		v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonInvalidPort, v1alpha1.ReasonReservedPort, v1alpha1.ReasonInvalidCIDR,
		v1alpha1.ReasonNameTooLong, v1alpha1.ReasonBridgeBinding, v1alpha1.ReasonNoMasqueradeInterface,
		v1alpha1.ReasonServiceConflict, v1alpha1.ReasonHostNotAllowed, v1alpha1.ReasonWaypointRequired,
		v1alpha1.ReasonGatewayNotAllowed, v1alpha1.ReasonServiceAccountNotFound, v1alpha1.ReasonPatchesDisabled,
		v1alpha1.ReasonPatchRefused, v1alpha1.ReasonQuotaExceeded, v1alpha1.ReasonConflict, v1alpha1.ReasonOutOfDate,
		v1alpha1.ReasonPodLabelsChanged, v1alpha1.ReasonPaused, v1alpha1.ReasonGuestFailed, v1alpha1.ReasonVolumeFailed,
		v1alpha1.ReasonUnschedulable, v1alpha1.ReasonImagePullFailed, v1alpha1.ReasonCrashLoop,
		v1alpha1.ReasonFieldUnsupported, v1alpha1.ReasonAnnotationIgnored, v1alpha1.ReasonLinkDown,
		v1alpha1.ReasonGuestNotReady, v1alpha1.ReasonProxyMissing, v1alpha1.ReasonShadowed, v1alpha1.ReasonSubsetMissing,
		v1alpha1.ReasonWaypointNotReady, v1alpha1.ReasonPortsDenied, v1alpha1.ReasonRestartRequired,
		v1alpha1.ReasonForeignEntries, v1alpha1.ReasonCopiedLabels, v1alpha1.ReasonOwnStartStrategy,
		v1alpha1.ReasonUnpausedEarly, v1alpha1.ReasonVersionNotServing, v1alpha1.ReasonSidecarMissing,
		v1alpha1.ReasonVirtualMachineNotFound, v1alpha1.ReasonVirtualMachineConflict, v1alpha1.ReasonConsentMissing, v1alpha1.ReasonFieldConflict,
		v1alpha1.ReasonGatewayNotFound, v1alpha1.ReasonGatewayRefusesHost, v1alpha1.ReasonProxyDiffers,
		v1alpha1.ReasonProxyRejected,
		v1alpha1.ReasonMachineNotFound, v1alpha1.ReasonPortNotFound, v1alpha1.ReasonTraceBusy,
	},
	TurnAdministrator: {
		v1alpha1.ReasonForbidden, v1alpha1.ReasonKubeVirtMissing, v1alpha1.ReasonIstioMissing,
		v1alpha1.ReasonAmbientNotEnrolled, v1alpha1.ReasonNodeNotReady, v1alpha1.ReasonWriteFailed,
		v1alpha1.ReasonReadBackMismatch, v1alpha1.ReasonIdentityMismatch, v1alpha1.ReasonKernelUnsupported,
		v1alpha1.ReasonRequestRejected, v1alpha1.ReasonContended, v1alpha1.ReasonNotALauncherPod,
		v1alpha1.ReasonGateMissing, v1alpha1.ReasonMigrationNotHeld, v1alpha1.ReasonCertificateInvalid,
		v1alpha1.ReasonProxyUnreadable, v1alpha1.ReasonProxyNotLive, v1alpha1.ReasonProxyStale,
		v1alpha1.ReasonTraceFailed,
	},
	TurnOperator: {
		v1alpha1.ReasonPending, v1alpha1.ReasonProgressing, v1alpha1.ReasonProgramming, v1alpha1.ReasonDrifted,
		v1alpha1.ReasonSandboxRecreated, v1alpha1.ReasonNodeRebooted, v1alpha1.ReasonApplyFailed,
		v1alpha1.ReasonNotCreated, v1alpha1.ReasonTargetGone, v1alpha1.ReasonTraceWaiting, v1alpha1.ReasonTracing,
	},
	TurnCluster: {
		v1alpha1.ReasonStarting, v1alpha1.ReasonStopping, v1alpha1.ReasonProvisioning, v1alpha1.ReasonNoPod,
		v1alpha1.ReasonSandboxNotReady, v1alpha1.ReasonPodNotFound, v1alpha1.ReasonTerminating,
	},
}

// fulfilled are the reasons of conditions that have their desired status, or that only
// inform.
var fulfilled = []v1alpha1.ConditionReason{
	v1alpha1.ReasonReady, v1alpha1.ReasonAccepted, v1alpha1.ReasonAvailable, v1alpha1.ReasonRunning, v1alpha1.ReasonStopped,
	v1alpha1.ReasonApplied, v1alpha1.ReasonEffective, v1alpha1.ReasonSeveralMembers, v1alpha1.ReasonResolved,
	v1alpha1.ReasonProgrammed, v1alpha1.ReasonAdopted, v1alpha1.ReasonConfigured,
	v1alpha1.ReasonTraced, v1alpha1.ReasonNothingSeen,
}

// turnFor returns who must act for a reason. An unknown reason is that of a newer operator.
func turnFor(reason string) Turn {
	for turn, reasons := range turns {
		if slices.Contains(reasons, v1alpha1.ConditionReason(reason)) {
			return turn
		}
	}
	return TurnAdministrator
}
