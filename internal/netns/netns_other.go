// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package netns

// Namespace is an open network namespace, which exists only on Linux.
type Namespace struct{}

// Find fails with ErrUnsupported.
func (Finder) Find(string) ([]*Namespace, error) { return nil, ErrUnsupported }

// Open fails with ErrUnsupported.
func Open(string) (*Namespace, error) { return nil, ErrUnsupported }

// Inode returns 0.
func (*Namespace) Inode() uint64 { return 0 }

// Fd returns 0.
func (*Namespace) Fd() uintptr { return 0 }

// Close does nothing.
func (*Namespace) Close() error { return nil }

// Addresses fails with ErrUnsupported.
func (*Namespace) Addresses() ([]Address, error) { return nil, ErrUnsupported }

// Do fails with ErrUnsupported.
func (*Namespace) Do(func() error) error { return ErrUnsupported }
