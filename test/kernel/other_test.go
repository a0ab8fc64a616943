// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kernel

import (
	"testing"

	"meshvm.io/meshvm/internal/requirement"
)

func TestKernel(t *testing.T) {
	requirement.Kernel.Unmet(t, "the kernel tests require Linux: netfilter and network namespaces")
}
