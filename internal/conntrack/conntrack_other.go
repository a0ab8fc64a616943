// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package conntrack

import "meshvm.io/meshvm/internal/nfnetlink"

// List fails with ErrUnsupported.
func List() ([]nfnetlink.Flow, error) { return nil, ErrUnsupported }

// Delete fails with ErrUnsupported.
func Delete([]nfnetlink.Flow) (int, error) { return 0, ErrUnsupported }
