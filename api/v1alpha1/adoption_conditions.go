// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Conditions of a MeshedVirtualMachine with an existing VirtualMachine.
const (
	// ConditionAdopted is present only while spec.existingVirtualMachine is set. It is
	// True while the template of the VirtualMachine has the labels of the mesh.
	//
	// Possible reasons when True: Adopted.
	// When False: VirtualMachineNotFound, VirtualMachineConflict, ConsentMissing, FieldConflict,
	// OutOfDate, ApplyFailed.
	// When Unknown: Pending.
	ConditionAdopted ConditionType = "Adopted"
)

// Reasons of a MeshedVirtualMachine with an existing VirtualMachine.
const (
	// ReasonSidecarMissing: the guest was started without Istio's sidecar, so the
	// mesh does not handle its traffic until its next start.
	ReasonSidecarMissing ConditionReason = "SidecarMissing"
	// ReasonAdopted: the template has the labels and annotations of the mesh.
	ReasonAdopted ConditionReason = "Adopted"
	// ReasonVirtualMachineNotFound: the existing VirtualMachine does not exist or is
	// being deleted. The operator continues when it exists.
	ReasonVirtualMachineNotFound ConditionReason = "VirtualMachineNotFound"
	// ReasonVirtualMachineConflict: another MeshedVirtualMachine created the existing
	// VirtualMachine or is older and names it, or another object controls it, for example
	// a VirtualMachinePool. The message contains its name.
	ReasonVirtualMachineConflict ConditionReason = "VirtualMachineConflict"
	// ReasonConsentMissing: the existing VirtualMachine does not have the annotation that
	// permits the adoption (tenancy.adoption of the OperatorConfiguration). The message
	// contains the annotation.
	ReasonConsentMissing ConditionReason = "ConsentMissing"
	// ReasonFieldConflict: another client owns a label or an annotation in the
	// template of the existing VirtualMachine with another value. The message
	// contains the field, its manager and the resolution.
	ReasonFieldConflict ConditionReason = "FieldConflict"
)
