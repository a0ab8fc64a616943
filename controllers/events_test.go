// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"meshvm.io/meshvm/api/v1alpha1"
)

// sent passes the created events on.
type sent struct {
	events.EventSink
	events chan *eventsv1.Event
}

func (s sent) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	s.events <- e
	return e, nil
}

// TestEventsWhileTheManagerStops checks that an event of a reconcile that finishes after
// the manager has begun to stop is written before Eventf returns.
func TestEventsWhileTheManagerStops(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	sink := sent{events: make(chan *eventsv1.Event, 2)}
	r, err := recordTo(ctx, sink, scheme, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	mvm := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	r.Eventf(mvm, nil, corev1.EventTypeWarning, "Earlier", "Ready", "before %s", "the stop")
	select {
	case e := <-sink.events:
		if e.Reason != "Earlier" || e.Note != "before the stop" {
			t.Errorf("got %+v", e)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("an event before the stop was not written")
	}
	stop()
	r.Eventf(mvm, mvm, corev1.EventTypeNormal, "Later", "Ready", "after %s", "the stop")
	select {
	case e := <-sink.events:
		if e.Reason != "Later" || e.Note != "after the stop" || e.Namespace != "shop" || e.Regarding.Name != "web" || e.Related == nil {
			t.Errorf("got %+v", e)
		}
	default:
		t.Error("Eventf returned before the event was written")
	}
}
