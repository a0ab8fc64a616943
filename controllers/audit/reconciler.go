// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

// resultTTL is the time within which a result must be recorded. If a result is
// lost, the next audit finds the same drift again.
const resultTTL = time.Minute

// scope contains the input of one reconcile.
type scope struct {
	// node is nil if it does not exist.
	node *corev1.Node
	name string
	// jobs are the node's audits, and pods their pods.
	jobs []batchv1.Job
	pods []corev1.Pod
	// left is the number of Jobs that remain after this reconcile.
	left int
	// recheck is the time until an unrecorded result is checked again, or 0 if all
	// results are recorded.
	recheck time.Duration
}

// Reconcile starts the audit of one node if it is due, and deletes its Jobs
// afterwards.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s := &scope{name: req.Name}
	if err := r.gather(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.cleanUp(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	if s.node == nil {
		r.forget(s.name)
		return ctrl.Result{}, nil
	}
	interval := r.Interval.Get()
	if interval == 0 {
		return ctrl.Result{RequeueAfter: s.recheck}, nil
	}
	d := decide(state{node: s.name, interval: interval, now: r.Now(), ready: rulejob.NodeReady(s.node), last: r.lastRound(s.name), jobs: s.left})
	if d.start {
		if err := r.start(ctx, s, d.round); err != nil {
			return ctrl.Result{}, err
		}
		r.setLastRound(s.name, d.round.begin)
	}
	wait := d.wait
	if s.recheck > 0 {
		wait = min(wait, s.recheck)
	}
	if d.start {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	next, err := r.startReads(ctx, s, interval)
	if next > 0 {
		wait = min(wait, next)
	}
	return ctrl.Result{RequeueAfter: wait}, err
}

func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	var node corev1.Node
	switch err := r.Client.Get(ctx, client.ObjectKey{Name: s.name}, &node); {
	case err == nil:
		s.node = &node
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read node %s: %w", s.name, err)
	}
	of := []client.ListOption{client.InNamespace(r.Jobs.Namespace), cacheindex.Labels(rulejob.AuditLabels(s.name))}
	var jobs batchv1.JobList
	if err := r.Client.List(ctx, &jobs, of...); err != nil {
		return fmt.Errorf("list audit jobs: %w", err)
	}
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, of...); err != nil {
		return fmt.Errorf("list audit pods: %w", err)
	}
	s.jobs, s.pods = jobs.Items, pods.Items
	return nil
}

// cleanUp deletes the Jobs that are no longer needed: failed Jobs, and Jobs whose
// results are recorded.
func (r *Reconciler) cleanUp(ctx context.Context, s *scope) error {
	var errs []error
	for i := range s.jobs {
		job := &s.jobs[i]
		if !job.DeletionTimestamp.IsZero() {
			s.left++
			continue
		}
		audit := rulejob.ReadAudit(job, s.pods)
		if !audit.Ended && s.node != nil {
			s.left++
			continue
		}
		recorded, err := r.recorded(ctx, audit)
		if err != nil {
			return err
		}
		if rest := resultTTL - r.Now().Sub(audit.FinishedAt.Time); !recorded && rest > 0 {
			s.left++
			s.recheck = rest
			continue
		}
		switch err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground)); {
		case err == nil:
			observe(job, audit)
			logDeleted(ctx, job, audit)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			errs = append(errs, fmt.Errorf("delete audit job: %w", err))
			s.left++
		}
	}
	return errors.Join(errs...)
}

// logDeleted logs the end of an audit. Audits run continuously, so one that found
// nothing is logged only at the debug level.
func logDeleted(ctx context.Context, job *batchv1.Job, audit rulejob.Audit) {
	log, found := ctrl.LoggerFrom(ctx), findings(audit)
	if len(found) == 0 {
		log = log.V(1)
	}
	log.Info("Deleted audit Job", "job", job.Name, "result", resultOf(audit), "findings", found)
}

// findings describes why an audit failed, and the pods whose rules it did not verify. A
// pod that has ended meanwhile is no finding.
func findings(a rulejob.Audit) []string {
	var out []string
	if len(a.Results) == 0 {
		out = append(out, cmp.Or(a.Message, "the Job ended without a result"))
	}
	for _, r := range a.Results {
		if o := r.Target.Outcome; o != ruleio.OutcomeVerified && o != ruleio.OutcomeTargetGone {
			out = append(out, fmt.Sprintf("%s: %s: %s", r.Entry.Config, r.Target.Outcome, r.Target.Message))
		}
	}
	return out
}

// recorded reports whether the status of all audited PodNATConfigurations contains
// the results. Only the PodNATConfiguration controller writes that status.
func (r *Reconciler) recorded(ctx context.Context, audit rulejob.Audit) (bool, error) {
	for _, result := range audit.Results {
		var config v1alpha1.PodNATConfiguration
		err := r.Client.Get(ctx, result.Entry.Key(), &config)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return false, fmt.Errorf("read PodNATConfiguration %s: %w", result.Entry.Config, err)
		}
		if config.DeletionTimestamp.IsZero() && !drift.FromAudit(config.UID, &config.Status, result).IsZero() {
			return false, nil
		}
	}
	return true, nil
}

// start creates the Jobs of a round.
func (r *Reconciler) start(ctx context.Context, s *scope, current round) error {
	targets, err := r.targets(ctx, s.name)
	if err != nil {
		return err
	}
	return r.create(ctx, s, current.number(), targets)
}

// create creates the Jobs that audit the targets.
func (r *Reconciler) create(ctx context.Context, s *scope, number int64, targets []rulejob.AuditTarget) error {
	groups, err := rulejob.AuditGroups(targets)
	if err != nil {
		return err
	}
	for i, group := range groups {
		job, err := rulejob.BuildAudit(r.Jobs, s.name, number, i, group)
		if err != nil {
			return err
		}
		switch err := r.Client.Create(ctx, job); {
		case err == nil:
			ctrl.LoggerFrom(ctx).V(1).Info("Created audit Job", "job", job.Name, "pods", len(group))
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("create audit job: %w", err)
		}
	}
	return nil
}

// targets returns the node's pods with verified rules, in a fixed order. The
// PodNATConfiguration controller handles the other pods.
func (r *Reconciler) targets(ctx context.Context, node string) ([]rulejob.AuditTarget, error) {
	var configs v1alpha1.PodNATConfigurationList
	if err := r.Client.List(ctx, &configs, client.MatchingFields{cacheindex.Node: node}); err != nil {
		return nil, fmt.Errorf("list the PodNATConfigurations of node %s: %w", node, err)
	}
	slices.SortFunc(configs.Items, func(a, b v1alpha1.PodNATConfiguration) int { return cmp.Compare(a.UID, b.UID) })
	var out []rulejob.AuditTarget
	for i := range configs.Items {
		config := &configs.Items[i]
		key := client.ObjectKey{Namespace: config.Namespace, Name: config.Spec.Pod.Name}
		pod, _, err := hiddenpod.Find(ctx, r.Client, r.Reader, key, config.Spec.Pod.UID)
		if err != nil {
			return nil, err
		}
		if pod == nil {
			continue
		}
		if target, ok := auditable(config, pod, node); ok {
			target.Unread = r.unread(config, pod)
			out = append(out, target)
		}
	}
	return out, nil
}

// auditable returns the target for a pod that is expected to have the rules of the
// current configuration.
func auditable(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod, node string) (rulejob.AuditTarget, bool) {
	none := rulejob.AuditTarget{}
	if pod.UID != config.Spec.Pod.UID || pod.Spec.NodeName != node || launcherpod.Ended(pod) || !config.DeletionTimestamp.IsZero() || len(pod.Status.PodIPs) == 0 {
		return none, false
	}
	request, err := natplan.ApplyRequest(config, pod)
	if err != nil { // The status of the PodNATConfiguration reports it.
		return none, false
	}
	digest, err := request.Digest()
	if err != nil || !drift.Proven(&config.Status, digest) {
		return none, false
	}
	entry := rulejob.EntryOf(config)
	entry.ProxyStarted = launcherpod.SidecarReadySince(pod)
	return rulejob.AuditTarget{Target: request.Targets[0], Entry: entry}, true
}
