// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kernel

import "testing"

func TestKernel(t *testing.T) {
	t.Skip("the kernel tests require Linux: netfilter and network namespaces")
}
