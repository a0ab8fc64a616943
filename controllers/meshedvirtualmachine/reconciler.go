// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/natplan"
)

// refusedRetry is the pause before an object that the API server refused is
// offered again: the refusal may come from a webhook whose mind can change.
const refusedRetry = time.Minute

// servedRetry is the pause before an API whose definition is there is looked for
// again.
const servedRetry = 5 * time.Second

// Reconcile brings the children of one MeshedVirtualMachine in line with it and
// reports what it found. Deletion needs nothing here: the children go by their
// owner references, and each PodNATConfiguration holds itself as long as needed.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var mvm v1alpha1.MeshedVirtualMachine
	if err := r.Client.Get(ctx, req.NamespacedName, &mvm); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !mvm.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	s := &scope{mvm: mvm.DeepCopy(), before: &mvm, gate: r.StartGate}
	err = r.carryOut(ctx, s)
	result, err = outcome(s, err)
	s.writeStatus()
	if patchErr := conditions.PatchStatus(ctx, r.Client, s.before, s.mvm); patchErr != nil {
		return result, errors.Join(err, patchErr)
	}
	conditions.Record(r.Recorder, s.mvm, s.before.Status.Conditions, s.mvm.Status.Conditions)
	return result, err
}

// carryOut runs the steps in order. An error ends it and is tried again;
// everything that people have to know is left in the scope.
func (r *Reconciler) carryOut(ctx context.Context, s *scope) error {
	s.paused = s.mvm.Annotations[v1alpha1.AnnotationPaused] == "true"
	err := natplan.CheckSpec(s.mvm)
	s.invalid, _ = natplan.FirstInvalid(err)
	if err != nil && s.invalid == nil {
		return err
	}
	if s.missing, s.soon, err = r.upstream.missing(ctx); err != nil || s.missing != nil {
		return err
	}
	s.dependenciesKnown = true
	if err := errors.Join(r.gather(ctx, s), r.gatherNATs(ctx, s)); err != nil {
		return err
	}
	if s.invalid != nil {
		err = r.keepRules(ctx, s)
	} else {
		err = r.compose(ctx, s)
	}
	// What runs is reported whatever became of the step before.
	if err := errors.Join(err, s.gatherVM()); err != nil {
		return err
	}
	return r.release(ctx, s)
}

// compose applies the wanted objects one by one and, when all went well, prunes
// those that are not wanted any more; configurations of pods that are gone it
// prunes in any case. While paused it only compares.
func (r *Reconciler) compose(ctx context.Context, s *scope) error {
	desired, err := children.Desired(r.input(s))
	if invalid, ok := natplan.FirstInvalid(err); ok {
		s.invalid = invalid
		return r.keepRules(ctx, s)
	}
	if err != nil {
		return err
	}
	s.children = map[apply.Key]*unstructured.Unstructured{}
	s.failures = map[apply.Key]error{}
	keep := s.liveRules()
	bring := r.Applier.Apply
	if s.paused {
		bring = r.Applier.Check
	}
	for _, o := range desired {
		key := apply.KeyOf(o)
		keep[key] = true
		if key.Kind == children.VirtualMachineKind.GroupKind() && len(s.failures) > 0 && s.vmi == nil {
			// A guest must not start before its policy is in place.
			s.held = true
			bring = r.Applier.Check
		}
		live, err := bring(ctx, o, s.mvm.UID)
		if live != nil && !errors.Is(err, apply.ErrConflict) {
			s.children[key] = live
		}
		if err != nil {
			s.failures[key] = err
		}
	}
	switch {
	case s.paused:
		return nil
	case len(s.failures) > 0:
		return r.prune(ctx, s, keep, children.PodNATConfigurationKind)
	default:
		return r.prune(ctx, s, keep, children.Prunable()...)
	}
}

func (r *Reconciler) prune(ctx context.Context, s *scope, keep map[apply.Key]bool, kinds ...schema.GroupVersionKind) error {
	selector := client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}
	return r.Applier.Prune(ctx, s.mvm.Namespace, s.mvm.UID, selector, kinds, keep)
}

// liveRules are the configurations of live pods: a pod keeps its rules even when
// no new ones can be derived.
func (s *scope) liveRules() map[apply.Key]bool {
	keep := map[apply.Key]bool{}
	for i := range s.pods {
		keep[s.natKey(&s.pods[i])] = true
	}
	return keep
}

func (r *Reconciler) input(s *scope) children.Input {
	return children.Input{MVM: s.mvm, VMI: s.vmi, LauncherPods: s.pods, StartGate: r.StartGate}
}

// keepRules sees to it, while the spec is refused, that pods which have started
// since have rules too: those of the spec before, as the mesh's policy still is.
// Without a configuration that tells them there are none, and the gate holds the
// guest. Everything else stays as it is, and so do the rules of other pods. What
// tells these rules is kept when its pod is gone.
func (r *Reconciler) keepRules(ctx context.Context, s *scope) error {
	if err := r.observe(ctx, s); err != nil || s.paused {
		return err
	}
	last := s.lastRules()
	if last == nil {
		return nil
	}
	s.failures = map[apply.Key]error{}
	in := r.input(s)
	in.Like = &last.Spec
	for _, o := range children.PodNATConfigurations(in) {
		key := apply.KeyOf(o)
		if s.children[key] != nil {
			continue
		}
		live, err := r.Applier.Apply(ctx, o, s.mvm.UID)
		if err != nil {
			s.failures[key] = err
			continue
		}
		s.children[key] = live
	}
	keep := s.liveRules()
	keep[apply.Key{Kind: children.PodNATConfigurationKind.GroupKind(), Name: last.Name}] = true
	return r.prune(ctx, s, keep, children.PodNATConfigurationKind)
}

// outcome turns what happened into when to look again. Conflicts and objects
// that are ending are watched; a refusal is tried again slowly; everything else
// with the queue's back-off.
func outcome(s *scope, err error) (ctrl.Result, error) {
	var result ctrl.Result
	if s.soon {
		result.RequeueAfter = servedRetry
	}
	errs := []error{err}
	for _, failure := range s.failures {
		switch {
		case errors.Is(failure, apply.ErrConflict), errors.Is(failure, apply.ErrTerminating), errors.Is(failure, apply.ErrDiffers):
		case refused(failure):
			result.RequeueAfter = refusedRetry
		default:
			errs = append(errs, failure)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// refused says whether the API server, or a webhook, found fault with the
// object itself.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err)
}
