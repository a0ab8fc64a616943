// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package main

// freeSpace is not known on this system.
func freeSpace(string) (megabytes float64, disk string) { return 0, "" }
