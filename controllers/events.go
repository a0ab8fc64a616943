// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
)

// newRecorder returns a recorder that writes events in the background until ctx is
// done. It differs from the manager's recorder in its eventSink.
func newRecorder(ctx context.Context, mgr ctrl.Manager) (events.EventRecorder, error) {
	c, err := eventsclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("create the client of events: %w", err)
	}
	log := mgr.GetLogger().WithName("events")
	broadcaster := events.NewBroadcaster(eventSink{&events.EventSinkImpl{Interface: c}})
	if err := broadcaster.StartRecordingToSinkWithContext(ctrl.LoggerInto(ctx, log)); err != nil {
		return nil, fmt.Errorf("start recording events: %w", err)
	}
	if _, err := broadcaster.StartLogging(log.V(1)); err != nil {
		return nil, fmt.Errorf("start logging events: %w", err)
	}
	context.AfterFunc(ctx, broadcaster.Shutdown)
	return broadcaster.NewRecorder(mgr.GetScheme(), "meshvm").WithLogger(log), nil
}

// eventSink writes events, and drops events in namespaces that are being deleted or
// do not exist. An event about a deleted object is written to the object's namespace,
// which may be deleted at the same time, and client-go writes the end of a series of
// events minutes after the last one (tools/events, finishSeries). client-go logs an
// error for each event that is not written.
type eventSink struct {
	events.EventSink
}

// Create implements events.EventSink.
func (s eventSink) Create(ctx context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	created, err := s.EventSink.Create(ctx, e)
	if !namespaceGone(err) {
		return created, err
	}
	ctrl.LoggerFrom(ctx).V(1).Info("Dropped event in a deleted namespace", "reason", e.Reason, "regarding", e.Regarding.Kind,
		"namespace", e.Namespace, "name", e.Regarding.Name)
	return e, nil
}

// namespaceGone reports whether an object was not created because its namespace is
// being deleted or does not exist. A create request returns NotFound only for the
// namespace (apiserver, admission plugin NamespaceLifecycle).
func namespaceGone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
