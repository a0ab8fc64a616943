// SPDX-License-Identifier: Apache-2.0

package sharedlists

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
)

// Busy returns the name of the KubeVirt operation that uses the lists of the
// live VirtualMachine, or an empty string. The lists are not changed until it
// completes:
//
//   - KubeVirt sets status.restoreInProgress before a VirtualMachineRestore changes the
//     VirtualMachine and removes it after the replaced DataVolumes are deleted.
//   - KubeVirt rejects changes of volumes during a VirtualMachineSnapshot.
//   - A volume request is in the status until KubeVirt has written it into the spec.
//   - A running migration of volumes is cancelled when the VirtualMachine gets its
//     previous volumes.
//
// (KubeVirt, pkg/storage/snapshot/restore.go, pkg/storage/admitters/vm-storage-status.go,
// pkg/virt-controller/watch/vm, pkg/virt-controller/watch/volume-migration.)
func Busy(live *unstructured.Unstructured, vmi *kubevirtv1.VirtualMachineInstance) string {
	status := func(field string) any {
		v, _, _ := unstructured.NestedFieldNoCopy(live.Object, "status", field)
		return v
	}
	if name, _ := status("restoreInProgress").(string); name != "" {
		return "VirtualMachineRestore " + name
	}
	if name, _ := status("snapshotInProgress").(string); name != "" {
		return "VirtualMachineSnapshot " + name
	}
	if requests, _ := status("volumeRequests").([]any); len(requests) > 0 {
		return "the pending request in status.volumeRequests"
	}
	if vmi != nil && migratesVolumes(vmi) {
		return "the migration of volumes"
	}
	return ""
}

func migratesVolumes(vmi *kubevirtv1.VirtualMachineInstance) bool {
	return len(vmi.Status.MigratedVolumes) > 0 || slices.ContainsFunc(vmi.Status.Conditions, func(c kubevirtv1.VirtualMachineInstanceCondition) bool {
		return c.Type == kubevirtv1.VirtualMachineInstanceVolumesChange && c.Status == corev1.ConditionTrue
	})
}
