// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions of ConnectionTrace, in addition to Accepted.
const (
	// ConditionComplete reports whether the trace has ended. When it is True, the
	// status does not change again.
	//
	// Possible reasons when True: Traced, NothingSeen, TraceBusy, TargetGone,
	// KernelUnsupported, TraceFailed, or the reason of Accepted.
	// When False: TraceWaiting, Tracing.
	ConditionComplete ConditionType = "Complete"
)

// Reasons of ConnectionTrace.
const (
	// ReasonMachineNotFound: the namespace does not contain the
	// MeshedVirtualMachine.
	ReasonMachineNotFound ConditionReason = "MachineNotFound"
	// ReasonPortNotFound: the MeshedVirtualMachine does not have a port with this
	// name.
	ReasonPortNotFound ConditionReason = "PortNotFound"
	// ReasonTraceWaiting: the trace waits for another trace, for the limits of
	// the namespace, or for the pod or its node.
	ReasonTraceWaiting ConditionReason = "TraceWaiting"
	// ReasonTracing: the Job of the trace is running.
	ReasonTracing ConditionReason = "Tracing"
	// ReasonTraced: at least one connection was seen.
	ReasonTraced ConditionReason = "Traced"
	// ReasonNothingSeen: no packet of the selected connections was seen within
	// the duration.
	ReasonNothingSeen ConditionReason = "NothingSeen"
	// ReasonTraceBusy: the trace waited too long, or another trace ran in the
	// pod.
	ReasonTraceBusy ConditionReason = "TraceBusy"
	// ReasonTraceFailed: the trace ended without a result.
	ReasonTraceFailed ConditionReason = "TraceFailed"
)
