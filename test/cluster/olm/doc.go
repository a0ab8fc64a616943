// SPDX-License-Identifier: Apache-2.0

// Package olm tests the bundle with the real Operator Lifecycle Manager on a
// separate cluster.
package olm
