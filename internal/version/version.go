// SPDX-License-Identifier: Apache-2.0

// Package version contains the release of a program.
package version

// Version is set by the linker in release images (hack/images).
var Version = "dev"
