// SPDX-License-Identifier: Apache-2.0

package fairqueue

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func request(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

func newQueue() workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return New("", workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second))
}

func TestNamespacesTakeTurns(t *testing.T) {
	q := newQueue()
	defer q.ShutDown()
	for i := range 4 {
		q.Add(request("big", fmt.Sprint(i)))
	}
	q.Add(request("small", "a"))
	q.Add(request("big", "0")) // It is waiting already.
	q.Add(request("other", "b"))
	q.Add(request("small", "c"))
	var got []string
	for q.Len() > 0 {
		r, _ := q.Get()
		got = append(got, r.String())
		q.Done(r)
	}
	want := []string{"big/0", "small/a", "other/b", "big/1", "small/c", "big/2", "big/3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestRequestsAreNotProcessedTwice: a request that is added while it is processed is
// processed once more afterwards.
func TestRequestsAreNotProcessedTwice(t *testing.T) {
	q := newQueue()
	defer q.ShutDown()
	q.Add(request("a", "x"))
	r, _ := q.Get()
	q.Add(r)
	if n := q.Len(); n != 0 {
		t.Fatalf("%d requests wait while the same is processed", n)
	}
	q.Done(r)
	if again, _ := q.Get(); again != r || q.Len() != 0 {
		t.Errorf("got %s, %d more, want %s once", again, q.Len(), r)
	}
	q.Done(r)
	q.AddRateLimited(r)
	if delayed, _ := q.Get(); delayed != r || q.NumRequeues(r) != 1 {
		t.Errorf("got %s after a delay, want %s", delayed, r)
	}
}

// TestEmptiedNamespaces: a namespace does not keep its turn or memory when it has no
// waiting request.
func TestEmptiedNamespaces(t *testing.T) {
	q := &turns{}
	for i := range 1000 {
		q.Push(request(fmt.Sprint(i), "x"))
		q.Pop()
	}
	if q.Len() != 0 || len(q.waiting) != 0 || len(q.namespaces) != 0 {
		t.Errorf("left: %d requests, %d namespaces, %d turns", q.Len(), len(q.waiting), len(q.namespaces))
	}
}
