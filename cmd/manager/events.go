// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// eventTimeout limits the time for writing an event while the manager shuts
// down.
const eventTimeout = 5 * time.Second

// podEvents records events about the manager's pod synchronously. The recorder
// of the manager writes events in the background and drops events that are
// pending when the manager stops (controller-runtime, pkg/internal/recorder,
// Provider.Stop).
type podEvents struct {
	client         client.Client
	namespace, pod string
}

// Eventf implements events.EventRecorder of client-go.
func (e podEvents) Eventf(_, _ runtime.Object, kind, reason, action, note string, args ...any) {
	ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	now, note := metav1.NowMicro(), fmt.Sprintf(note, args...)
	ctrl.Log.V(1).Info(note, "type", kind, "reason", reason)
	err := e.client.Create(ctx, &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: e.namespace, Name: fmt.Sprintf("%s.%x", e.pod, now.UnixNano())},
		EventTime:           now,
		ReportingController: "meshvm",
		ReportingInstance:   e.pod,
		Regarding:           corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: e.namespace, Name: e.pod},
		Type:                kind,
		Reason:              reason,
		Action:              action,
		Note:                note,
	})
	if err != nil {
		ctrl.Log.Error(err, "Failed to write an event", "reason", reason)
	}
}
