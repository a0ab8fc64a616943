// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// reading are the audits of one proxy between the regular audits. It is kept only in
// memory.
type reading struct {
	// key identifies the proxy's container and the policies. The delays begin again
	// when it changes.
	key string
	// audits is the number of audits, and next the time of the next one.
	audits int
	next   time.Time
}

// startReads starts an audit of the pods whose proxies must be read before the next
// regular audit. It returns the time until the next such audit, or 0 if none is known.
func (r *Reconciler) startReads(ctx context.Context, s *scope, interval time.Duration) (time.Duration, error) {
	if s.left > 0 || !rulejob.NodeReady(s.node) {
		return 0, nil
	}
	all, err := r.targets(ctx, s.name)
	if err != nil {
		return 0, err
	}
	var due []rulejob.AuditTarget
	wait := time.Duration(0)
	for _, t := range all {
		switch next := r.readDue(t, interval); {
		case next == 0:
		case next > 0:
			if wait == 0 || next < wait {
				wait = next
			}
		default:
			due = append(due, t)
		}
	}
	if len(due) == 0 {
		return wait, nil
	}
	return 0, r.create(ctx, s, r.Now().UnixMilli(), due)
}

// readDue returns a negative duration if the proxy of a target must be read now, the time
// until then, or 0 if the regular audits suffice. It counts the audits that are due.
func (r *Reconciler) readDue(t rulejob.AuditTarget, interval time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	uid := t.Entry.UID
	if !t.Unread || t.Entry.ProxyStarted == nil {
		delete(r.reads, uid)
		return 0
	}
	now := r.Now()
	state := r.reads[uid]
	if key := t.Entry.ProxyStarted.String() + t.Entry.Policies; state.key != key {
		state = reading{key: key, next: now}
	}
	delay := drift.Reread(state.audits, interval)
	if delay >= interval {
		return 0
	}
	if wait := state.next.Sub(now); wait > 0 {
		return wait
	}
	state.audits, state.next = state.audits+1, now.Add(delay)
	if r.reads == nil {
		r.reads = map[types.UID]reading{}
	}
	r.reads[uid] = state
	return -1
}

// unread reports whether the status does not describe the proxy that is ready in the pod, or
// describes one that does not run the modes of Istio's policies. After a start of the
// manager, the regular audits read the proxies that were already running.
func (r *Reconciler) unread(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod) bool {
	started := launcherpod.SidecarReadySince(pod)
	if started == nil {
		return false
	}
	if config.Status.Proxy.Kind == "" && started.Time.Before(r.began) {
		return false
	}
	return !drift.ProxyKnown(&config.Status, pod) || config.Status.Proxy.Policies != rulejob.PoliciesOf(config) ||
		!conditions.IsTrue(config.Status.Conditions, v1alpha1.ConditionProxyConfigured, config.Generation)
}

// sidecarReady selects updates of pods after which a proxy can be read.
var sidecarReady = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Pod)
		after, ok2 := e.ObjectNew.(*corev1.Pod)
		if !ok1 || !ok2 {
			return false
		}
		since := launcherpod.SidecarReadySince(after)
		return since != nil && !since.Equal(launcherpod.SidecarReadySince(before))
	},
}
