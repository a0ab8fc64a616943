// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API group meshvm.io/v1alpha1. Application teams write
// MeshedVirtualMachines. The operator writes a PodNATConfiguration for each
// running virt-launcher pod.
//
// +kubebuilder:object:generate=true
// +groupName=meshvm.io
package v1alpha1
