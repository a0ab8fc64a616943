// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

// Interval is the time between two audits of a node. It can change while the
// controllers run. Zero disables audits.
type Interval struct {
	d       atomic.Int64
	changed chan event.GenericEvent
}

// Every returns an Interval with the given duration.
func Every(d time.Duration) *Interval {
	i := &Interval{changed: make(chan event.GenericEvent, 1)}
	i.d.Store(int64(d))
	return i
}

// Get returns the current interval.
func (i *Interval) Get() time.Duration { return time.Duration(i.d.Load()) }

// Set changes the interval and requests a reconcile of all nodes.
func (i *Interval) Set(d time.Duration) {
	if i.d.Swap(int64(d)) == int64(d) {
		return
	}
	select {
	case i.changed <- event.GenericEvent{Object: &corev1.Node{}}:
	default: // A reconcile of all nodes is pending.
	}
}
