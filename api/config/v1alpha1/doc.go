// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API group config.meshvm.io/v1alpha1, the format of the
// operator's configuration file. The API server does not serve it. The manager
// reads the file from a mounted ConfigMap (docs/configuration.md).
//
// +kubebuilder:object:generate=true
// +groupName=config.meshvm.io
package v1alpha1
