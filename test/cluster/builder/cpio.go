// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"fmt"
	"io"
)

// cpioWriter writes an initial RAM file system for Linux: the "newc" format of
// Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	w     io.Writer
	inode int
	err   error
}

// File types of a cpio entry's mode.
const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
	cpioLink = 0o120000
)

func (c *cpioWriter) dir(name string)                      { c.entry(name, cpioDir|0o755, nil) }
func (c *cpioWriter) file(name string, mode int, b []byte) { c.entry(name, cpioFile|mode, b) }
func (c *cpioWriter) link(name, target string)             { c.entry(name, cpioLink|0o777, []byte(target)) }

func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, nil)
	return c.err
}

// entry writes a header of thirteen hexadecimal fields, the name and the
// content, each padded to four bytes.
func (c *cpioWriter) entry(name string, mode int, content []byte) {
	c.inode++
	c.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad(110 + len(name) + 1)
	c.write(content)
	c.pad(len(content))
}

func (c *cpioWriter) pad(length int) { c.write(make([]byte, (4-length%4)%4)) }

func (c *cpioWriter) printf(format string, args ...any) { c.write(fmt.Appendf(nil, format, args...)) }

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
