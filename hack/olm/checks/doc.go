// SPDX-License-Identifier: Apache-2.0

// Package checks tests the bundle and the catalog with the validators of
// operator-framework/api, the rules of operator-sdk's scorecard and of OLM v1,
// and OLM v1's check for safe upgrades of CRDs.
package checks
