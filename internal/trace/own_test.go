// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"testing"
	"time"
)

func TestMayRemove(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	before, after := Comment(now.Add(-time.Second), RoleFlow), Comment(now.Add(time.Minute), RoleProxy)
	for name, tc := range map[string]struct {
		comments []string
		busy     bool
	}{
		"left behind":     {[]string{before, before}, false},
		"in use":          {[]string{before, after}, true},
		"empty":           {nil, false},
		"no comment":      {[]string{before, ""}, true},
		"unknown comment": {[]string{"meshvm trace until tomorrow, flow"}, true},
		"deadline is now": {[]string{Comment(now, RoleFlow)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := mayRemove(tc.comments, now); errors.Is(err, ErrBusy) != tc.busy {
				t.Errorf("error %v, want ErrBusy: %t", err, tc.busy)
			}
		})
	}
}

func TestComment(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	got, role, ok := parseComment(Comment(at, RoleProxy))
	if !ok || role != RoleProxy || !got.Equal(at) {
		t.Errorf("%s, %q, %t", got, role, ok)
	}
}
