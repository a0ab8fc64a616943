// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"io"
	"strings"
)

// Lines returns a writer that calls f with each complete line.
func Lines(f func(line string)) io.Writer { return &lines{f: f} }

type lines struct {
	f    func(string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.f(strings.TrimRight(string(line), "\r"))
		l.rest = rest
	}
}

// IsPackage reports whether a line of the output of go build -v is the path of
// a package that is compiled.
func IsPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " :\t#")
}
