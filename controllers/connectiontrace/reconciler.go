// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// cacheDelay is the time in which a Job that was created appears in the cache.
const cacheDelay = 30 * time.Second

// scope contains the input of one reconcile.
type scope struct {
	// trace is the object to be written. before is the object as it was read.
	trace, before *v1alpha1.ConnectionTrace
	// job is its Job, or nil.
	job *batchv1.Job
	// running is the number of Jobs of other ConnectionTraces of the namespace.
	running int
}

// Reconcile runs the trace once and deletes the object when it has expired. An object
// has no finalizer: the Job of a deleted object is deleted here, and ends by its deadline
// if no manager runs.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var jobs batchv1.JobList
	if err := r.Client.List(ctx, &jobs, client.InNamespace(r.Jobs.Namespace), cacheindex.Labels(rulejob.TraceLabels(req.Namespace))); err != nil {
		return ctrl.Result{}, fmt.Errorf("list trace jobs: %w", err)
	}
	var trace v1alpha1.ConnectionTrace
	if err := r.Client.Get(ctx, req.NamespacedName, &trace); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	} else if err != nil || !trace.DeletionTimestamp.IsZero() {
		trace.UID = ""
	}
	s := &scope{trace: trace.DeepCopy(), before: &trace}
	var errs []error
	for i := range jobs.Items {
		job := &jobs.Items[i]
		switch {
		case !rulejob.IsTraceOf(job, req.NamespacedName):
			s.running++
		case trace.UID == "" || job.Annotations[v1alpha1.AnnotationTraceUID] != string(trace.UID):
			errs = append(errs, r.deleteJob(ctx, job))
		default:
			s.job = job
		}
	}
	if err := errors.Join(errs...); err != nil || trace.UID == "" {
		return ctrl.Result{}, err
	}
	if meta.IsStatusConditionTrue(trace.Status.Conditions, string(v1alpha1.ConditionComplete)) {
		return r.expire(ctx, s)
	}
	result, err = r.run(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	return result, conditions.PatchStatus(ctx, r.Client, s.before, s.trace)
}

// expire deletes the Job of a trace that is complete, and the object after its time to
// live.
func (r *Reconciler) expire(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.job != nil {
		if err := r.deleteJob(ctx, s.job); err != nil {
			return ctrl.Result{}, err
		}
	}
	if end := s.trace.Status.CompletionTime; end != nil {
		if wait := s.ttl() - r.Now().Sub(end.Time); wait > 0 {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
	}
	err := r.Client.Delete(ctx, s.before, client.Preconditions{UID: &s.before.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return ctrl.Result{}, fmt.Errorf("delete ConnectionTrace: %w", err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Deleted expired ConnectionTrace")
	}
	return ctrl.Result{}, nil
}

// run starts the trace or reads its result.
func (r *Reconciler) run(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.job != nil {
		return r.read(ctx, s)
	}
	now := r.Now()
	if start := s.trace.Status.StartTime; !start.IsZero() {
		if wait := cacheDelay - now.Sub(start.Time); wait > 0 {
			return ctrl.Result{RequeueAfter: min(wait, poll)}, nil
		}
		s.complete(now, v1alpha1.ReasonTraceFailed, "the Job of the trace was deleted before its result was read")
		return ctrl.Result{}, nil
	}
	on, o, err := r.resolve(ctx, s.trace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if o != nil {
		return s.block(now, o), nil
	}
	request, o := requestFor(s.trace, on)
	if o != nil {
		return s.block(now, o), nil
	}
	s.trace.Status.Pod = v1alpha1.PodTarget{Name: on.pod.Name, UID: on.pod.UID}
	s.trace.Status.Node = on.pod.Spec.NodeName
	busy, err := r.busy(ctx, on.pod)
	if err != nil {
		return ctrl.Result{}, err
	}
	if busy == "" {
		busy = r.limits.exceeded(s.trace.Namespace, s.running, now)
	}
	if busy != "" {
		return s.block(now, &obstacle{message: busy}), nil
	}
	job, err := rulejob.BuildTrace(r.Jobs, s.trace, on.pod.Spec.NodeName, request)
	if err != nil {
		return ctrl.Result{}, err
	}
	switch err := r.Client.Create(ctx, job); {
	case apierrors.IsAlreadyExists(err):
		return s.block(now, &obstacle{message: otherTrace}), nil
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("create trace job: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Created trace Job", "job", job.Name, "node", on.pod.Spec.NodeName, "pod", on.pod.Name)
	r.limits.started(s.trace.Namespace, now)
	s.start(now)
	return ctrl.Result{}, nil
}

const otherTrace = "waiting because another trace runs in the pod"

// busy returns why the pod cannot be traced now, or an empty string. The pod of a Job
// that was deleted can still run for a few seconds.
func (r *Reconciler) busy(ctx context.Context, pod *corev1.Pod) (string, error) {
	of := []client.ListOption{client.InNamespace(r.Jobs.Namespace), cacheindex.Labels(rulejob.TracedPodLabels(pod.UID))}
	var jobs batchv1.JobList
	if err := r.Client.List(ctx, &jobs, of...); err != nil {
		return "", fmt.Errorf("list trace jobs: %w", err)
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, of...); err != nil {
		return "", fmt.Errorf("list trace pods: %w", err)
	}
	if len(jobs.Items) > 0 || slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return !launcherpod.Ended(&p) }) {
		return otherTrace, nil
	}
	return "", nil
}

// read evaluates the Job of the trace.
func (r *Reconciler) read(ctx context.Context, s *scope) (ctrl.Result, error) {
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Jobs.Namespace), cacheindex.Labels(rulejob.TraceLabels(s.trace.Namespace))); err != nil {
		return ctrl.Result{}, fmt.Errorf("list trace pods: %w", err)
	}
	if s.trace.Status.StartTime.IsZero() { // An earlier manager created the Job.
		s.start(s.job.CreationTimestamp.Time)
	}
	state := rulejob.ReadTrace(s.job, pods.Items)
	if !state.Ended {
		s.tracing(state.Message)
		return ctrl.Result{}, nil
	}
	s.report(r.Now(), state)
	return ctrl.Result{}, nil
}

func (r *Reconciler) deleteJob(ctx context.Context, job *batchv1.Job) error {
	if !job.DeletionTimestamp.IsZero() {
		return nil
	}
	err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete trace job: %w", err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Deleted trace Job", "job", job.Name)
	}
	return nil
}
