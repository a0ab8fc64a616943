// Package monitoring tests the alerts of config/monitoring with Prometheus' own
// parser and query engine.
package monitoring
