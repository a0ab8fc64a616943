// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// Back-off between Jobs that failed with a retryable error.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
)

// Reconcile programs the rules of one pod according to the spec and reports the
// rules that were read back. Every step is idempotent, so the next reconcile
// completes a reconcile that was interrupted at any point.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var config v1alpha1.PodNATConfiguration
	if err := r.Client.Get(ctx, req.NamespacedName, &config); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{config: config.DeepCopy(), before: &config, now: r.Now()}
	if err := r.gather(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.buildRequest(s); err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
		if result.IsZero() {
			result.RequeueAfter = s.nextLook()
		}
		s.writeStatus()
		if patchErr := conditions.PatchStatus(ctx, r.Client, s.before, s.config); patchErr != nil {
			err = errors.Join(err, patchErr)
			return
		}
		conditions.Record(r.Recorder, s.config, s.before.Status.Conditions, s.config.Status.Conditions)
	}()
	if !config.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, s)
	}
	switch left, err := r.isLeftover(ctx, s); {
	case err != nil:
		return ctrl.Result{}, err
	case left:
		return ctrl.Result{}, r.dropLeftover(ctx, s)
	}
	r.findDrift(s)
	if err := r.dropJobs(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if wait := s.awaitEnrollment(r.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if s.request == nil || s.rulesVerified() || !s.nodeUp() {
		return ctrl.Result{}, nil
	}
	if s.repairDue() && s.paused {
		return ctrl.Result{}, nil
	}
	if s.repairBackoff.Wait > 0 {
		return ctrl.Result{RequeueAfter: s.repairBackoff.Wait}, nil
	}
	if err := r.ensureFinalizer(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	return r.program(ctx, s)
}

// nextLook returns the time until a change that no event reports, or 0.
func (s *scope) nextLook() time.Duration {
	if s.hidden {
		return hiddenpod.Retry
	}
	return s.certificateExpires()
}

// program ensures that one Job executes the request, and reads its state. A Job
// that failed with a retryable error is replaced after a back-off.
func (r *Reconciler) program(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.config.Status.Applied.RequestDigest == s.digest && s.proofMayBeStale() {
		// The rules were verified by an earlier run of the same request. Another
		// request may have been executed since.
		s.config.Status.Applied = v1alpha1.AppliedRules{}
	}
	job := s.job(s.digest)
	if job == nil {
		if s.writerRunning() {
			// Two concurrent rule-writers of one pod could finish in either order. The
			// watch reports when this one has finished.
			return ctrl.Result{}, nil
		}
		want, err := rulejob.Build(r.Jobs, s.config, s.pod.Spec.NodeName, *s.request)
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("build rule-writer job: %w", err)
		}
		s.describeTarget(want)
		if err := r.Client.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return ctrl.Result{}, fmt.Errorf("create rule-writer job: %w", err)
		} else if err == nil {
			ctrl.LoggerFrom(ctx).Info("Created rule-writer Job", "job", want.Name, "node", s.pod.Spec.NodeName, "pod", s.pod.Name)
		}
		s.config.Status.Job = want.Name
		return ctrl.Result{}, nil
	}
	result := rulejob.ResultFor(job, s.writers[job.UID], s.digest)
	s.jobResult = &result
	switch result.State {
	case rulejob.StateRunning:
		s.config.Status.Job = job.Name
	case rulejob.StateSucceeded:
		s.proven, s.provenJob = result.Target, job
	case rulejob.StateFailed:
		return r.retry(ctx, s, job, result)
	}
	return ctrl.Result{}, nil
}

// retry counts a failure once and, after the back-off, deletes the Job, so that the
// next reconcile creates another.
func (r *Reconciler) retry(ctx context.Context, s *scope, job *batchv1.Job, jobResult rulejob.Result) (ctrl.Result, error) {
	if s.config.Status.Job == job.Name {
		s.config.Status.Job = ""
		s.config.Status.Attempts++
	}
	if !jobResult.Retryable && !jobResult.TargetGone {
		if rulejob.Outdated(job, r.Jobs.Image, bootID(s.node)) {
			return ctrl.Result{}, r.deleteJob(ctx, job)
		}
		return ctrl.Result{}, nil
	}
	wait := backoff(s.config.Status.Attempts) - r.Now().Sub(jobResult.FinishedAt.Time)
	if wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{}, r.deleteJob(ctx, job)
}

// backoff returns the delay after the given number of failures.
func backoff(attempts int32) time.Duration {
	d := firstRetry
	for i := int32(1); i < attempts && d < lastRetry; i++ {
		d *= 2
	}
	return min(d, lastRetry)
}

// finalize removes meshvm's table from a pod that keeps running, and then the
// finalizer. A guest that is being deleted keeps its rules until it terminates.
// A pod or node that no longer exists or does not respond does not delay the
// deletion.
func (r *Reconciler) finalize(ctx context.Context, s *scope) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(s.config, v1alpha1.FinalizerRules) {
		return ctrl.Result{}, nil
	}
	deleted, err := r.guestIsDeleted(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if deleted && s.alive() && s.nodeUp() {
		// The watch reports when the pod has terminated.
		return ctrl.Result{}, nil
	}
	if s.request != nil && s.nodeUp() && s.pod.DeletionTimestamp.IsZero() {
		if err := r.dropJobs(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
		opensGate := s.opensGate()
		if opensGate && s.rulesVerified() {
			// The watch reports when the guest has started.
			return ctrl.Result{}, nil
		}
		result, err := r.program(ctx, s)
		if err != nil || opensGate || !s.removalEnded() {
			return result, err
		}
	}
	if err := r.deleteJobs(ctx, s.jobs); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.patchFinalizer(ctx, s, controllerutil.RemoveFinalizer)
}

// removalEnded reports whether the Job that removes the table has finished with
// a result that a retry would not change.
func (s *scope) removalEnded() bool {
	if s.jobResult == nil || s.jobResult.State == rulejob.StateRunning {
		return false
	}
	return s.jobResult.TargetGone || !s.jobResult.Retryable
}

// ensureFinalizer sets the finalizer before the first rules are written to the
// pod.
func (r *Reconciler) ensureFinalizer(ctx context.Context, s *scope) error {
	if controllerutil.ContainsFinalizer(s.config, v1alpha1.FinalizerRules) {
		return nil
	}
	return r.patchFinalizer(ctx, s, controllerutil.AddFinalizer)
}

func (r *Reconciler) patchFinalizer(ctx context.Context, s *scope, change func(client.Object, string) bool) error {
	changed := s.before.DeepCopy()
	change(changed, v1alpha1.FinalizerRules)
	patch := client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})
	err := r.Client.Patch(ctx, changed, patch)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch finalizer: %w", err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Patched finalizer", "finalizers", changed.Finalizers)
	}
	// The status patch of this reconcile is computed against the object as it is
	// stored now.
	s.before = changed
	s.config.ObjectMeta = *changed.ObjectMeta.DeepCopy()
	return nil
}

// dropJobs deletes Jobs that are no longer needed: Jobs of another request, and
// Jobs of this request whose result is in the status.
func (r *Reconciler) dropJobs(ctx context.Context, s *scope) error {
	var unneeded []batchv1.Job
	for _, job := range s.jobs {
		if s.digest == "" || job.Name != rulejob.JobName(s.config, s.digest) || s.rulesVerified() {
			unneeded = append(unneeded, job)
		}
	}
	return r.deleteJobs(ctx, unneeded)
}

func (r *Reconciler) deleteJobs(ctx context.Context, jobs []batchv1.Job) error {
	var errs []error
	for i := range jobs {
		errs = append(errs, r.deleteJob(ctx, &jobs[i]))
	}
	return errors.Join(errs...)
}

func (r *Reconciler) deleteJob(ctx context.Context, job *batchv1.Job) error {
	if !job.DeletionTimestamp.IsZero() {
		return nil
	}
	err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete rule-writer job: %w", err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Deleted rule-writer Job", "job", job.Name)
	}
	return nil
}

// job returns the Job for the request of that digest, or nil.
func (s *scope) job(digest string) *batchv1.Job {
	name := rulejob.JobName(s.config, digest)
	for i := range s.jobs {
		if s.jobs[i].Name == name {
			return &s.jobs[i]
		}
	}
	return nil
}
