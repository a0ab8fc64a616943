// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package main

import (
	"fmt"
	"syscall"
)

// freeSpace returns the free space in MB of the file system of a directory, and
// the file system's number.
func freeSpace(dir string) (megabytes float64, disk string) {
	var fs syscall.Statfs_t
	var file syscall.Stat_t
	if syscall.Statfs(dir, &fs) != nil || syscall.Stat(dir, &file) != nil {
		return 0, ""
	}
	return float64(fs.Bavail) * float64(fs.Bsize) / 1e6, fmt.Sprint(file.Dev)
}
