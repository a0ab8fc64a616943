// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package conntrack

// List fails with ErrUnsupported.
func List() ([]Flow, error) { return nil, ErrUnsupported }

// Delete fails with ErrUnsupported.
func Delete([]Flow) (int, error) { return 0, ErrUnsupported }
