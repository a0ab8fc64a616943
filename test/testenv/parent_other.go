// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package testenv

import "os/exec"

// EndWithParent does nothing: the feature exists only on Linux.
func EndWithParent(*exec.Cmd) {}
