// SPDX-License-Identifier: Apache-2.0

// Package checks tests the Helm chart with Helm's packages: it compares the
// rendered chart with the directories of config/, and tests the effect of each
// value and the schema of the values.
package checks
