// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxMessage is the maximum length of status.repairs.lastMessage, in runes.
const maxMessage = 1024

// Limits bound repairs while another process keeps changing the rules.
type Limits struct {
	// Drifts is the number of drifts within a window that are repaired.
	Drifts int32
	// Window is the period in which drifts are counted. It begins with the first
	// drift.
	Window time.Duration
	// Backoff is the delay before the second repair within a window. Each further
	// delay is twice as long.
	Backoff time.Duration
}

// DefaultLimits are suitable for an audit interval: a window contains more audits
// than Drifts.
func DefaultLimits(auditInterval time.Duration) Limits {
	return Limits{Drifts: 3, Window: max(time.Hour, 6*auditInterval), Backoff: 30 * time.Second}
}

// Note records that a repair is necessary. A repair that is already due is not
// counted again. A new sandbox or a new boot has precedence over a drift, and does
// not count towards the limit.
func (l Limits) Note(st *v1alpha1.PodNATConfigurationStatus, f Finding, now time.Time) {
	r := &st.Repairs
	if Due(st) {
		if f.Reason != v1alpha1.ReasonDrifted && r.LastReason == v1alpha1.ReasonDrifted {
			r.LastReason, r.LastMessage = f.Reason, shorten(f.Message)
		}
		return
	}
	at := metav1.NewTime(now).Rfc3339Copy()
	r.Count++
	r.LastTime, r.LastReason, r.LastMessage = &at, f.Reason, shorten(f.Message)
	if f.Reason != v1alpha1.ReasonDrifted {
		return
	}
	if r.WindowStart == nil || !now.Before(r.WindowStart.Add(l.Window)) {
		r.WindowStart, r.Recent = &at, 0
	}
	r.Recent++
}

// Hold describes the delay of a repair that is due.
type Hold struct {
	// Wait is the remaining delay, or 0.
	Wait time.Duration
	// Contended is set when the limit of repairs is reached.
	Contended bool
	// Until is the end of the window, if Contended.
	Until time.Time
}

// Hold returns the delay of a repair that is due. Only drifts are delayed.
func (l Limits) Hold(st *v1alpha1.PodNATConfigurationStatus, now time.Time) Hold {
	r := st.Repairs
	if !Due(st) || r.LastReason != v1alpha1.ReasonDrifted || r.LastTime == nil || r.WindowStart == nil {
		return Hold{}
	}
	if r.Recent > l.Drifts {
		until := r.WindowStart.Add(l.Window)
		if wait := until.Sub(now); wait > 0 {
			return Hold{Wait: wait, Contended: true, Until: until}
		}
		return Hold{}
	}
	return Hold{Wait: max(r.LastTime.Add(l.backoff(r.Recent)).Sub(now), 0)}
}

// backoff returns the delay before the n-th repair within a window.
func (l Limits) backoff(n int32) time.Duration {
	if n < 2 {
		return 0
	}
	d := l.Backoff
	for ; n > 2 && d < l.Window; n-- {
		d *= 2
	}
	return min(d, l.Window)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > maxMessage {
		return string(r[:maxMessage-1]) + "…"
	}
	return s
}
