// SPDX-License-Identifier: Apache-2.0

package drift

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxMessage is the bound of status.repairs.lastMessage, in runes.
const maxMessage = 1024

// Limits end a fight with somebody else who writes the rules.
type Limits struct {
	// Drifts is how many drifts within a window are repaired.
	Drifts int32
	// Window is how long drifts count. A window begins with the first one.
	Window time.Duration
	// Backoff is the pause before the second repair within a window; each
	// further one takes twice as long.
	Backoff time.Duration
}

// DefaultLimits suit an audit's interval: a window has room for more audits
// than it takes to tell a fight.
func DefaultLimits(auditInterval time.Duration) Limits {
	return Limits{Drifts: 3, Window: max(time.Hour, 6*auditInterval), Backoff: 30 * time.Second}
}

// Note records that a repair is necessary. One that is due already is not
// counted again; a new sandbox or a new boot says more than a drift, and is no
// sign of a fight.
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

// Hold is how a repair that is due has to wait.
type Hold struct {
	// Wait is how long, 0 when it need not.
	Wait time.Duration
	// Contended says that too many repairs were in vain.
	Contended bool
	// Until is when the window ends, if Contended.
	Until time.Time
}

// Hold says whether a repair that is due has to wait. It is about drifts only.
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

// backoff is the pause before the n-th repair within a window.
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
