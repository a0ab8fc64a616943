// SPDX-License-Identifier: Apache-2.0

package drift_test

import (
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/drift"
)

var limits = drift.Limits{Drifts: 3, Window: time.Hour, Backoff: 30 * time.Second}

// repeated records findings at the given minutes after Epoch. Each finding
// except the last is repaired before the next.
func repeated(findings ...any) *v1alpha1.PodNATConfigurationStatus {
	c, _ := proven()
	st := &c.Status
	var reason v1alpha1.ConditionReason
	for _, f := range findings {
		switch f := f.(type) {
		case v1alpha1.ConditionReason:
			reason = f
		case int:
			st.Applied.Repair = st.Repairs.Count
			limits.Note(st, drift.Finding{Reason: reason, Message: "what"}, minute(f))
		}
	}
	return st
}

func minute(n int) time.Time { return builders.Epoch.Add(time.Duration(n) * time.Minute) }

func TestHold(t *testing.T) {
	const (
		d = v1alpha1.ReasonDrifted
		s = v1alpha1.ReasonSandboxRecreated
	)
	tests := map[string]struct {
		findings []any
		at       int
		want     drift.Hold
		recent   int32
	}{
		"the first is repaired immediately":  {[]any{d, 0}, 0, drift.Hold{}, 1},
		"the second is delayed":              {[]any{d, 0, 1}, 1, drift.Hold{Wait: 30 * time.Second}, 2},
		"the third is delayed twice as long": {[]any{d, 0, 1, 3}, 3, drift.Hold{Wait: time.Minute}, 3},
		"after the delay":                    {[]any{d, 0, 1, 3}, 4, drift.Hold{}, 3},
		"the fourth is contended":            {[]any{d, 0, 10, 20, 30}, 30, drift.Hold{Wait: 30 * time.Minute, Contended: true, Until: minute(60)}, 4},
		"contention ends with the window":    {[]any{d, 0, 10, 20, 30}, 60, drift.Hold{}, 4},
		"a new window":                       {[]any{d, 0, 10, 20, 30, 70}, 70, drift.Hold{}, 1},
		"slow drifts are not contention":     {[]any{d, 0, 61, 122, 183, 244}, 244, drift.Hold{}, 1},
		"new sandboxes are not contention":   {[]any{s, 0, 1, 2, 3, 4, 5}, 5, drift.Hold{}, 0},
		"a new sandbox during contention":    {[]any{d, 0, 10, 20, s, 21, d, 30}, 30, drift.Hold{Wait: 30 * time.Minute, Contended: true, Until: minute(60)}, 4},
		"a new sandbox is not delayed":       {[]any{d, 0, 10, 20, s, 21}, 21, drift.Hold{}, 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			st := repeated(tc.findings...)
			if got := limits.Hold(st, minute(tc.at)); got != tc.want || st.Repairs.Recent != tc.recent {
				t.Errorf("got %+v, recent %d, want %+v, %d", got, st.Repairs.Recent, tc.want, tc.recent)
			}
			// After the repair, nothing is delayed.
			st.Applied.Repair = st.Repairs.Count
			if got := limits.Hold(st, minute(tc.at)); got != (drift.Hold{}) {
				t.Errorf("still %+v after the repair", got)
			}
		})
	}
}

func TestNoteCountsARepairOnce(t *testing.T) {
	st := repeated(v1alpha1.ReasonDrifted, 0)
	if drift.Proven(st, "digest") || !drift.Due(st) {
		t.Error("the rules are proven after a drift")
	}
	first := st.Repairs
	limits.Note(st, drift.Finding{Reason: v1alpha1.ReasonDrifted, Message: "again"}, minute(1))
	if st.Repairs != first {
		t.Errorf("recorded twice: %+v", st.Repairs)
	}
	limits.Note(st, drift.Finding{Reason: v1alpha1.ReasonNodeRebooted, Message: strings.Repeat("ä", 5000)}, minute(2))
	if r := st.Repairs; r.Count != 1 || r.LastReason != v1alpha1.ReasonNodeRebooted || len([]rune(r.LastMessage)) != 1024 || r.Recent != 1 {
		t.Errorf("a reboot while a drift waits: %+v", r)
	}
	limits.Note(st, drift.Finding{Reason: v1alpha1.ReasonSandboxRecreated, Message: "later"}, minute(3))
	if r := st.Repairs; r.Count != 1 || r.LastReason != v1alpha1.ReasonNodeRebooted {
		t.Errorf("a new sandbox while a reboot is repaired: %+v", r)
	}
	st.Applied.Repair = st.Repairs.Count
	if !drift.Proven(st, "digest") || drift.Proven(st, "other") {
		t.Error("not proven after the repair")
	}
}

func TestDefaultLimits(t *testing.T) {
	for interval, window := range map[time.Duration]time.Duration{0: time.Hour, 10 * time.Minute: time.Hour, time.Hour: 6 * time.Hour} {
		l := drift.DefaultLimits(interval)
		// Contention at every audit is detected within the window.
		if l.Window != window || time.Duration(l.Drifts+1)*interval > l.Window {
			t.Errorf("audits every %s: %+v", interval, l)
		}
	}
}
