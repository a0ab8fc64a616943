// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is config.meshvm.io/v1alpha1: the file that the operator
// itself is configured by. The API server does not know it; the manager reads it
// from a mounted ConfigMap (docs/configuration.md).
//
// +kubebuilder:object:generate=true
// +groupName=config.meshvm.io
package v1alpha1
