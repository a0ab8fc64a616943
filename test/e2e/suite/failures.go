// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"fmt"
	"io"
	"sync"
)

// failures are the messages of failed tests, to print them again after the
// output of all tests.
var failures struct {
	sync.Mutex
	messages []string
}

func (t *T) failed(message string) string {
	failures.Lock()
	defer failures.Unlock()
	failures.messages = append(failures.messages, t.Name()+": "+message)
	return message
}

// Errorf fails the test and continues.
func (t *T) Errorf(format string, args ...any) {
	t.Helper()
	t.T.Error(t.failed(fmt.Sprintf(format, args...)))
}

// Error fails the test and continues.
func (t *T) Error(args ...any) {
	t.Helper()
	t.T.Error(t.failed(fmt.Sprint(args...)))
}

// Fatalf fails and ends the test.
func (t *T) Fatalf(format string, args ...any) {
	t.Helper()
	t.T.Fatal(t.failed(fmt.Sprintf(format, args...)))
}

// Fatal fails and ends the test.
func (t *T) Fatal(args ...any) {
	t.Helper()
	t.T.Fatal(t.failed(fmt.Sprint(args...)))
}

// PrintFailures prints the messages of all failed tests.
func PrintFailures(w io.Writer) {
	failures.Lock()
	defer failures.Unlock()
	for _, m := range failures.messages {
		fmt.Fprintln(w, "FAILED", m)
	}
}
