// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import "testing"

// TestNothingLeft is the last: it stops the cluster, and the machine is as before.
func TestNothingLeft(t *testing.T) {
	own(t)
	s := start(t)
	shared = nil
	if err := s.Down(*keep); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, options.Name, machine)
}
