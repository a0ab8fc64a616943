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
	"meshvm.io/meshvm/internal/rulejob"
)

// Back-off between Jobs that failed in a way that another one may not.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 5 * time.Minute
)

// Reconcile brings the rules of one pod in line with the spec and reports what
// was read back. Each step is a no-op once it is done, so that a reconcile that
// died anywhere is finished by the next one.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var config v1alpha1.PodNATConfiguration
	if err := r.Client.Get(ctx, req.NamespacedName, &config); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{config: config.DeepCopy(), before: &config}
	if err := r.gather(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.plan(s); err != nil {
		return ctrl.Result{}, err
	}
	defer func() {
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
	r.findDrift(s)
	if err := r.dropJobs(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if wait := s.awaitEnrolment(r.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if s.request == nil || s.applied() || !s.nodeUp() {
		return ctrl.Result{}, nil
	}
	if s.repairDue() && s.paused {
		return ctrl.Result{}, nil
	}
	if s.hold.Wait > 0 {
		return ctrl.Result{RequeueAfter: s.hold.Wait}, nil
	}
	if err := r.holdDeletion(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	return r.program(ctx, s)
}

// program sees to it that one Job carries out the request, and takes in how it
// stands. A failed Job that may go better is replaced after a back-off.
func (r *Reconciler) program(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.config.Status.Applied.RequestDigest == s.digest && s.overtaken() {
		// An older proof of the same request: another one was under way since.
		s.config.Status.Applied = v1alpha1.AppliedRules{}
	}
	job := s.job(s.digest)
	if job == nil {
		if s.writerAtWork() {
			// Two writers of one pod could end in either order. The end of
			// this one is an event.
			return ctrl.Result{}, nil
		}
		want, err := rulejob.Build(r.Jobs, s.config, s.pod.Spec.NodeName, *s.request)
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("build rule-writer job: %w", err)
		}
		s.describeTarget(want)
		if err := r.Client.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return ctrl.Result{}, fmt.Errorf("create rule-writer job: %w", err)
		}
		s.config.Status.Job = want.Name
		return ctrl.Result{}, nil
	}
	outcome := rulejob.ReadOutcome(job, s.writers[job.UID], s.digest)
	s.outcome = &outcome
	switch outcome.State {
	case rulejob.StateRunning:
		s.config.Status.Job = job.Name
	case rulejob.StateSucceeded:
		s.proven, s.provenJob = outcome.Target, job
	case rulejob.StateFailed:
		return r.retry(ctx, s, job, outcome)
	}
	return ctrl.Result{}, nil
}

// retry counts a failure once and, after the back-off, deletes the Job, which
// makes room for another.
func (r *Reconciler) retry(ctx context.Context, s *scope, job *batchv1.Job, outcome rulejob.Outcome) (ctrl.Result, error) {
	if s.config.Status.Job == job.Name {
		s.config.Status.Job = ""
		s.config.Status.Attempts++
	}
	if !outcome.Retryable && !outcome.TargetGone {
		if rulejob.Outdated(job, r.Jobs.Image, bootID(s.node)) {
			return ctrl.Result{}, r.deleteJob(ctx, job)
		}
		return ctrl.Result{}, nil
	}
	wait := backoff(s.config.Status.Attempts) - r.Now().Sub(outcome.FinishedAt.Time)
	if wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{}, r.deleteJob(ctx, job)
}

// backoff is the pause after the given number of failures.
func backoff(attempts int32) time.Duration {
	d := firstRetry
	for i := int32(1); i < attempts && d < lastRetry; i++ {
		d *= 2
	}
	return min(d, lastRetry)
}

// finalize removes our table from a pod that goes on living, and lets the
// object go. A guest that is going away keeps its rules to the end; a pod or
// node that is gone, or does not answer, holds nothing up.
func (r *Reconciler) finalize(ctx context.Context, s *scope) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(s.config, v1alpha1.FinalizerRules) {
		return ctrl.Result{}, nil
	}
	leaving, err := r.guestLeaves(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if leaving && s.alive() && s.nodeUp() {
		// The pod's end is an event.
		return ctrl.Result{}, nil
	}
	if s.request != nil && s.nodeUp() && s.pod.DeletionTimestamp.IsZero() {
		if err := r.dropJobs(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
		result, err := r.program(ctx, s)
		if err != nil || s.outcome == nil || s.outcome.State == rulejob.StateRunning || s.outcome.Retryable && !s.outcome.TargetGone {
			return result, err
		}
	}
	s.digest = ""
	if err := r.dropJobs(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.patchFinalizer(ctx, s, controllerutil.RemoveFinalizer)
}

// guestLeaves says whether the guest goes away together with the object, because
// the MeshedVirtualMachine that both belong to does.
func (r *Reconciler) guestLeaves(ctx context.Context, s *scope) (bool, error) {
	owner := metav1.GetControllerOf(s.config)
	if owner == nil {
		return false, nil
	}
	var mvm v1alpha1.MeshedVirtualMachine
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.config.Namespace, Name: owner.Name}, &mvm)
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read the owner: %w", err)
	}
	return mvm.UID != owner.UID || !mvm.DeletionTimestamp.IsZero(), nil
}

// holdDeletion sets the finalizer before the first rule can be in the pod.
func (r *Reconciler) holdDeletion(ctx context.Context, s *scope) error {
	if controllerutil.ContainsFinalizer(s.config, v1alpha1.FinalizerRules) {
		return nil
	}
	return r.patchFinalizer(ctx, s, controllerutil.AddFinalizer)
}

func (r *Reconciler) patchFinalizer(ctx context.Context, s *scope, change func(client.Object, string) bool) error {
	changed := s.before.DeepCopy()
	change(changed, v1alpha1.FinalizerRules)
	patch := client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch finalizer: %w", err)
	}
	// The status that this reconcile computes is patched onto what is stored now.
	s.before = changed
	s.config.ObjectMeta = *changed.ObjectMeta.DeepCopy()
	return nil
}

// dropJobs deletes Jobs that have no further use: those of another request, and
// those of this one whose result status already holds.
func (r *Reconciler) dropJobs(ctx context.Context, s *scope) error {
	var errs []error
	for i := range s.jobs {
		job := &s.jobs[i]
		if s.digest != "" && job.Name == rulejob.JobName(s.config, s.digest) && !s.applied() {
			continue
		}
		errs = append(errs, r.deleteJob(ctx, job))
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
