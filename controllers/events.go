// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventsclient "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	ctrl "sigs.k8s.io/controller-runtime"
)

// component is the name of the operator in events.
const component = "meshvm"

// drainTimeout limits the time for writing events after the manager has begun to stop.
const drainTimeout = 10 * time.Second

// newRecorder returns a recorder that writes events in the background until ctx is
// done, and then synchronously. It differs from the manager's recorder in this and in
// its eventSink.
func newRecorder(ctx context.Context, mgr ctrl.Manager) (events.EventRecorder, error) {
	c, err := eventsclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("create the client of events: %w", err)
	}
	return recordTo(ctx, &events.EventSinkImpl{Interface: c}, mgr.GetScheme(), mgr.GetLogger().WithName("events"))
}

func recordTo(ctx context.Context, sink events.EventSink, scheme *runtime.Scheme, log logr.Logger) (events.EventRecorder, error) {
	r := recorder{stopping: ctx.Done(), sink: eventSink{sink}, scheme: scheme, log: log}
	broadcaster := events.NewBroadcaster(r.sink)
	// Events that wait when ctx is done are still written.
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	if err := broadcaster.StartRecordingToSinkWithContext(ctrl.LoggerInto(recording, log)); err != nil {
		stop()
		return nil, fmt.Errorf("start recording events: %w", err)
	}
	if _, err := broadcaster.StartLogging(log.V(1)); err != nil {
		stop()
		return nil, fmt.Errorf("start logging events: %w", err)
	}
	context.AfterFunc(ctx, func() {
		broadcaster.Shutdown()
		time.AfterFunc(drainTimeout, stop)
	})
	r.EventRecorder = broadcaster.NewRecorder(scheme, component).WithLogger(log)
	return r, nil
}

// recorder writes the events of reconciles that finish while the manager stops before
// Eventf returns. The process exits after the last reconcile and would lose events that
// are written in the background.
type recorder struct {
	events.EventRecorder
	stopping <-chan struct{}
	sink     eventSink
	scheme   *runtime.Scheme
	log      logr.Logger
}

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	select {
	case <-r.stopping:
	default:
		r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
		return
	}
	ctx, cancel := context.WithTimeout(ctrl.LoggerInto(context.Background(), r.log), drainTimeout)
	defer cancel()
	about, err := reference.GetReference(r.scheme, regarding)
	if err != nil {
		r.log.Error(err, "Cannot write an event", "reason", reason)
		return
	}
	now := metav1.NowMicro()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", about.Name, now.UnixNano()), Namespace: about.Namespace},
		EventTime:  now, Type: kind, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...), Regarding: *about,
		ReportingController: component, ReportingInstance: component,
	}
	if other, err := reference.GetReference(r.scheme, related); err == nil {
		event.Related = other
	}
	if _, err := r.sink.Create(ctx, event); err != nil {
		r.log.Error(err, "Cannot write an event", "reason", reason)
	}
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
