// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package kernel

import "meshvm.io/meshvm/internal/nft"

// Replace fails with ErrUnsupported because nf_tables exists only on Linux.
func (Handle) Replace(nft.Table) error { return ErrUnsupported }

// Remove fails with ErrUnsupported because nf_tables exists only on Linux.
func (Handle) Remove() error { return ErrUnsupported }

// Read fails with ErrUnsupported because nf_tables exists only on Linux.
func (Handle) Read() (nft.Snapshot, error) { return nft.Snapshot{}, ErrUnsupported }

// AddElements fails with ErrUnsupported because nf_tables exists only on Linux.
func (Handle) AddElements(nft.Set, uint32) error { return ErrUnsupported }
