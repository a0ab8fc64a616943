// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests the alerts of config/monitoring with Prometheus' own
// parser and query engine.
package monitoring
