// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the meshvm.io/v1alpha1 API: MeshedVirtualMachine, which
// application teams write, and PodNATConfiguration, which the operator writes
// for each live virt-launcher pod.
//
// +kubebuilder:object:generate=true
// +groupName=meshvm.io
package v1alpha1
