// SPDX-License-Identifier: Apache-2.0

// Package validate decides whether the spec of a MeshedVirtualMachine can be
// implemented. A rejection names the field and describes the problem and its
// solution. The package also contains the checks and limits that package natplan
// has in common with it. It is pure: equal input results in equal output, and it
// performs no I/O.
package validate
