// SPDX-License-Identifier: Apache-2.0

// Package checks tests the bundle and the catalog: with the validators of
// operator-framework/api, with the rules that operator-sdk's scorecard and OLM
// v1 apply, and with OLM v1's own check that an upgrade of the kinds is safe.
package checks
