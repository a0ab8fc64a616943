// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"testing"
	"time"
)

const interval = 10 * time.Minute

func TestRoundsAreSpreadAndFixed(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const nodes, slots = 1000, 10
	var slot [slots]int
	for i := range nodes {
		name := fmt.Sprintf("worker-%d.example", i)
		r := roundAt(name, interval, now)
		if r.begin.After(now) || !r.next.After(now) || r.next.Sub(r.begin) != interval {
			t.Fatalf("%s: %v is not within %+v", name, now, r)
		}
		if again := roundAt(name, interval, r.next.Add(-time.Nanosecond)); !again.begin.Equal(r.begin) {
			t.Fatalf("%s: its round moved from %v to %v", name, r.begin, again.begin)
		}
		if next := roundAt(name, interval, r.next); !next.begin.Equal(r.next) || next.number() == r.number() {
			t.Fatalf("%s: %+v is followed by %+v", name, r, next)
		}
		slot[now.Sub(r.begin)*slots/interval]++
	}
	for i, n := range slot {
		if n < nodes/slots/2 || n > nodes/slots*2 {
			t.Errorf("slot %d of the interval has %d of %d nodes", i, n, nodes)
		}
	}
}

func TestDecide(t *testing.T) {
	begin := roundAt("node-a", interval, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)).begin
	tests := map[string]struct {
		change func(*state)
		start  bool
		wait   time.Duration
	}{
		"due":                                  {func(*state) {}, true, interval},
		"a little late":                        {func(s *state) { s.now = begin.Add(interval / 4) }, true, interval * 3 / 4},
		"too late, after a start":              {func(s *state) { s.now = begin.Add(interval/4 + 1) }, false, interval*3/4 - 1},
		"done":                                 {func(s *state) { s.last, s.now = begin, begin.Add(time.Minute) }, false, interval - time.Minute},
		"the previous round was audited":       {func(s *state) { s.last = begin.Add(-interval) }, true, interval},
		"node down":                            {func(s *state) { s.ready = false }, false, interval},
		"the previous audit is not cleaned up": {func(s *state) { s.jobs = 1 }, false, interval},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := state{node: "node-a", interval: interval, now: begin, ready: true}
			tc.change(&s)
			if d := decide(s); d.start != tc.start || d.wait != tc.wait || !d.round.begin.Equal(begin) {
				t.Errorf("got %+v, want start %v, wait %s", d, tc.start, tc.wait)
			}
		})
	}
}

// TestRoundsAreEqual computes a round from two readings of the monotonic clock.
// Rounds that differ by nanoseconds would be audited more than once.
func TestRoundsAreEqual(t *testing.T) {
	const interval = 10 * time.Minute
	now := time.Now()
	first, later := roundAt("node-a", interval, now), roundAt("node-a", interval, now.Add(1))
	if first.next.Sub(first.begin) != interval {
		t.Errorf("the round lasts %s", first.next.Sub(first.begin))
	}
	if first.begin != later.begin && first.next != later.begin {
		t.Errorf("two computations of a round begin at %v and %v", first.begin, later.begin)
	}
	d := decide(state{node: "node-a", interval: interval, now: later.begin.Add(2), ready: true, last: roundAt("node-a", interval, later.begin.Add(1)).begin})
	if d.start {
		t.Error("an audited round is audited again")
	}
}
