// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package nftrules

// Replace fails with ErrUnsupported: nf_tables is part of Linux.
func (Kernel) Replace(Table) error { return ErrUnsupported }

// Remove fails with ErrUnsupported: nf_tables is part of Linux.
func (Kernel) Remove() error { return ErrUnsupported }

// Read fails with ErrUnsupported: nf_tables is part of Linux.
func (Kernel) Read() (Snapshot, error) { return Snapshot{}, ErrUnsupported }

// OpenGate fails with ErrUnsupported: nf_tables is part of Linux.
func (Kernel) OpenGate(Table, uint32) error { return ErrUnsupported }
