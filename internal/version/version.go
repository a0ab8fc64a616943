// SPDX-License-Identifier: Apache-2.0

// Package version says which release a program is of.
package version

// Version is set by the linker when images are made (hack/images).
var Version = "dev"
