// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Test is the part of testing.T that the reports need.
type Test interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// ReportWatch prints the results of the clients. The test fails for each failed
// request.
func ReportWatch(t Test, seen []Watched) {
	t.Helper()
	var table strings.Builder
	for _, w := range seen {
		fmt.Fprintf(&table, "\n%-28s %5d sent %3d failed, longest time without an answer %4d ms  %s", w.Name, w.Sent, w.Failed, w.LongestMS, w.Target)
		if w.Failed > 0 {
			t.Errorf("%s: %d of %d failed, the first: %s", w.Name, w.Failed, w.Sent, w.First)
		}
		if w.Sent < 20 {
			t.Errorf("%s: only %d requests were sent, want at least 20", w.Name, w.Sent)
		}
	}
	t.Logf("%s", table.String())
}

// CompareSnapshots makes the test fail if a part that must not change did.
func CompareSnapshots(t Test, before, after Snapshot) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(before.Kept)) {
		if before.Kept[name] != after.Kept[name] {
			t.Errorf("%s: %s before, %s after", name, before.Kept[name], after.Kept[name])
		}
	}
	if !maps.Equal(before.Selector, after.Selector) {
		t.Logf("selector of the Service: %v, before %v", after.Selector, before.Selector)
	}
	if before.Labels != after.Labels {
		t.Logf("labels of the machine's next instance: %s, before %s", after.Labels, before.Labels)
	}
	rewritten := "the same table"
	if before.TableHandle != after.TableHandle {
		rewritten = "rewritten in one transaction"
	} else if after.Packets < before.Packets {
		t.Errorf("the table's counters decreased: %d packets before, %d after", before.Packets, after.Packets)
	}
	t.Logf("table: %s (handle %d, %d rules, %d packets counted; before handle %d, %d rules, %d packets); digest %.12s, before %.12s; %d properties compared",
		rewritten, after.TableHandle, after.Rules, after.Packets, before.TableHandle, before.Rules, before.Packets,
		after.Digest, before.Digest, len(before.Kept))
}
