// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package main

// freeSpace returns no result, because the free space cannot be determined on
// this system.
func freeSpace(string) (megabytes float64, disk string) { return 0, "" }
