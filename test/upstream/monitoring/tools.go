// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package monitoring makes this module require Prometheus Operator, whose CRDs
// are installed by tests.
package monitoring

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
