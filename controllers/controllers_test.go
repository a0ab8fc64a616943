// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"
)

// TestWallClock checks that the times of reconcilers survive being stored: a time with
// a monotonic clock reading differs from the same time that was encoded and decoded.
func TestWallClock(t *testing.T) {
	o := Options{Now: time.Now}
	o.setDefaults()
	now := o.Now()
	text, err := now.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var stored time.Time
	if err := stored.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	if now != stored.In(time.Local) { // The operator also compares the monotonic clock reading, which Equal ignores if one is missing.
		t.Errorf("%v is %v after it was stored", now, stored)
	}
}
