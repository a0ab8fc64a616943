// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import "testing"

func TestRemember(t *testing.T) {
	list := ""
	for _, path := range []string{"/c/operator-1", "/c/guest-1", "/c/operator-2", "/c/operator-1"} {
		list = remember(list, path)
	}
	if want := "/c/guest-1\n/c/operator-1\n"; list != want {
		t.Errorf("got %q, want %q", list, want)
	}
}
