// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package monitoring is why this module requires Prometheus' operator, whose
// definitions of its kinds tests install.
package monitoring

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
