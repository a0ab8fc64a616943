// SPDX-License-Identifier: Apache-2.0

// Package natplan turns what users declare and what KubeVirt reports into the
// plan of one pod's NAT, or into a refusal that names the field and the way
// out. It is pure: equal input gives equal output, and nothing is read or
// written.
package natplan
