// SPDX-License-Identifier: Apache-2.0

// Package checks tests the Helm chart with Helm's own packages: what it renders
// against what kustomize makes of config/, what each value changes, and what its
// schema refuses.
package checks
