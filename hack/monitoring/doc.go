// SPDX-License-Identifier: Apache-2.0

// Package monitoring tests the alerts of config/monitoring with the parser and
// the query engine of Prometheus.
package monitoring
