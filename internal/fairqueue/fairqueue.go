// SPDX-License-Identifier: Apache-2.0

// Package fairqueue provides the queue of a controller in which namespaces take turns,
// so that a tenant with many objects does not delay the objects of other tenants.
package fairqueue

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// New returns the queue of a controller. Its signature is that of
// controller.Options.NewQueue.
func New(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: &turns{}})
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{Name: name, Queue: queue})
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, DelayingQueue: delaying})
}

// turns orders waiting requests: the namespaces in turn, and the requests of a
// namespace in the order of their arrival. The work queue serializes all calls and adds
// no request twice.
type turns struct {
	// namespaces are those with waiting requests. The first one is next.
	namespaces []string
	waiting    map[string][]reconcile.Request
	length     int
}

// Touch is called for a request that is waiting already.
func (*turns) Touch(reconcile.Request) {}

// Push adds a request. Its namespace is last if it has no other waiting request.
func (q *turns) Push(r reconcile.Request) {
	if q.waiting == nil {
		q.waiting = map[string][]reconcile.Request{}
	}
	if len(q.waiting[r.Namespace]) == 0 {
		q.namespaces = append(q.namespaces, r.Namespace)
	}
	q.waiting[r.Namespace] = append(q.waiting[r.Namespace], r)
	q.length++
}

// Len returns the number of waiting requests.
func (q *turns) Len() int { return q.length }

// Pop removes the oldest request of the next namespace. The queue must not be empty.
func (q *turns) Pop() reconcile.Request {
	namespace := q.namespaces[0]
	q.namespaces = q.namespaces[1:]
	all := q.waiting[namespace]
	next := all[0]
	if len(all) == 1 {
		delete(q.waiting, namespace)
	} else {
		q.waiting[namespace] = all[1:]
		q.namespaces = append(q.namespaces, namespace)
	}
	q.length--
	return next
}
