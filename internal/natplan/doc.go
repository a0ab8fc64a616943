// SPDX-License-Identifier: Apache-2.0

// Package natplan computes the NAT of a virt-launcher pod: from an accepted
// MeshedVirtualMachine and the pod the spec of a PodNATConfiguration, and from
// that spec the plan and the request for the rule-writer. Package validate decides
// which specs are accepted. The package is pure: equal input results in equal
// output, and it performs no I/O.
package natplan
