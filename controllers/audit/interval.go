// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// Interval is how often each node is audited; it may change while the
// controllers run. Zero means that no audits are started.
type Interval struct {
	d       atomic.Int64
	changed chan event.GenericEvent
}

// Every is an interval.
func Every(d time.Duration) *Interval {
	i := &Interval{changed: make(chan event.GenericEvent, 1)}
	i.d.Store(int64(d))
	return i
}

// Get is the interval now.
func (i *Interval) Get() time.Duration { return time.Duration(i.d.Load()) }

// Set changes it, and has all nodes looked at.
func (i *Interval) Set(d time.Duration) {
	if i.d.Swap(int64(d)) == int64(d) {
		return
	}
	select {
	case i.changed <- event.GenericEvent{Object: &corev1.Node{}}:
	default: // They are about to be looked at anyway.
	}
}
