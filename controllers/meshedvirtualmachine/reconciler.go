// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/validate"
)

// rejectedRetry is the delay before an object that the API server or a webhook
// rejected is applied again: a webhook may decide differently later.
const rejectedRetry = time.Minute

// servedRetry is the delay before the operator checks again whether an API
// whose CRD exists is served.
const servedRetry = 5 * time.Second

// Reconcile applies the children of one MeshedVirtualMachine and reports their
// state. A deletion is only reported.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	var mvm v1alpha1.MeshedVirtualMachine
	if err := r.Client.Get(ctx, req.NamespacedName, &mvm); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{mvm: mvm.DeepCopy(), before: &mvm, gate: r.StartGate, clusterDomain: r.ClusterDomain, rootNamespace: r.RootNamespace}
	if !mvm.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.reportDeletion(ctx, s)
	}
	err = r.reconcileNormal(ctx, s)
	s.describePods()
	if err == nil {
		err = r.unpause(ctx, s)
	}
	result, err = resultFor(s, err)
	s.writeStatus()
	if patchErr := conditions.PatchStatus(ctx, r.Client, s.before, s.mvm); patchErr != nil {
		return result, errors.Join(err, patchErr)
	}
	conditions.Record(r.Recorder, s.mvm, s.before.Status.Conditions, s.mvm.Status.Conditions)
	r.recordStrays(s)
	return result, err
}

// reconcileNormal gathers the scope and applies the children. An error ends it
// and is retried. The facts that the status reports remain in the scope.
func (r *Reconciler) reconcileNormal(ctx context.Context, s *scope) error {
	s.paused = s.mvm.PausedByUser()
	err := validate.SpecIn(r.cluster(ctx), s.mvm)
	s.invalid, _ = validate.FirstInvalid(err)
	if err != nil && s.invalid == nil {
		return err
	}
	if s.missing, s.retrySoon, err = r.upstream.missing(ctx); err != nil || s.missing != nil {
		return err
	}
	if s.unread, err = r.upstream.unread(ctx, dependencies...); err != nil || s.unread != nil {
		return err
	}
	s.dependenciesKnown = true
	if err := r.gatherExisting(ctx, s); err != nil {
		return err
	}
	if err := errors.Join(r.gatherGuest(ctx, s), r.gatherMesh(ctx, s), r.gatherStrays(ctx, s)); err != nil {
		return err
	}
	if err := r.ensureFinalizer(ctx, s); err != nil {
		return err
	}
	if err := errors.Join(r.gatherService(ctx, s), r.gatherGateways(ctx, s)); err != nil {
		return err
	}
	if err := r.adopt(ctx, s); err != nil {
		return err
	}
	if s.invalid != nil {
		err = r.keepLastAccepted(ctx, s)
	} else {
		err = errors.Join(r.applyChildren(ctx, s), r.dropFinalizer(ctx, s))
	}
	s.noteExisting()
	// The running state is reported regardless of the result of the previous step.
	return errors.Join(err, s.gatherVM(), s.ownObjects(), r.gatherDifferences(ctx, s))
}

// applyFunc applies a desired object, or only compares it with the live one.
type applyFunc func(ctx context.Context, desired apply.Object, owner metav1.Object) (*unstructured.Unstructured, error)

// applyChildren applies the desired objects one by one and, when all succeeded,
// prunes those that are no longer desired. After a failure, it prunes only the kinds
// of toPrune and reports the other objects. While paused it only compares and reports.
func (r *Reconciler) applyChildren(ctx context.Context, s *scope) error {
	desired, err := children.Desired(r.input(s))
	if err != nil {
		return err
	}
	s.children = map[apply.Key]*unstructured.Unstructured{}
	s.failures = map[apply.Key]error{}
	keep := s.liveRules()
	for _, o := range desired {
		key := apply.KeyOf(o)
		keep[key] = true
		if u := s.unavailable[key.Kind]; u != nil {
			s.failures[key] = u
			continue
		}
		live, err := r.applyPatched(ctx, s, key, o)
		if live != nil && !errors.Is(err, apply.ErrConflict) {
			s.children[key] = live
		}
		if live == nil && err == nil && s.paused && isPolicyOrService(key.Kind) {
			err = outOfDateError(apply.Describe(o) + " does not exist")
		}
		if err != nil {
			s.failures[key] = err
		}
	}
	s.noteDelay()
	if err := r.gatherVersions(ctx, s); err != nil {
		return err
	}
	var pruned []schema.GroupVersionKind
	if !s.paused {
		pruned = s.toPrune()
		if err := r.prune(ctx, s, keep, pruned...); err != nil {
			return err
		}
	}
	if s.paused || len(s.failures) > 0 {
		return r.noteSurplus(ctx, s, keep, pruned)
	}
	return nil
}

// toPrune returns the kinds whose objects are deleted if they are no longer desired. While
// an object cannot be applied, these are only PodNATConfigurations and, unless the failed
// object is one, AuthorizationPolicies and VirtualServices: a policy or a gateway that was
// removed from the spec must not continue to allow connections because another object fails.
// A difference of an object that the lead of the Service writes does not count.
func (s *scope) toPrune() []schema.GroupVersionKind {
	if !s.fails(func(key apply.Key, err error) bool { return !s.awaitsLead(key, err) }) {
		return s.prunable()
	}
	kinds := []schema.GroupVersionKind{children.PodNATConfigurationKind}
	for _, k := range []schema.GroupVersionKind{children.AuthorizationPolicyKind, children.VirtualServiceKind} {
		if s.failureOf(k.GroupKind()) == nil && slices.Contains(s.prunable(), k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// outOfDateError describes a difference from the desired state that the operator does not
// repair at present.
type outOfDateError string

func (e outOfDateError) Error() string { return string(e) }

// Unwrap makes it a difference in the sense of package apply.
func (outOfDateError) Unwrap() error { return apply.ErrDiffers }

// noteSurplus reports the children that are no longer desired and that are not deleted
// while the operator is paused or another object fails.
func (r *Reconciler) noteSurplus(ctx context.Context, s *scope, keep map[apply.Key]bool, pruned []schema.GroupVersionKind) error {
	owned, err := r.owned(ctx, s)
	if err := errors.Join(err, r.earlierObjects(ctx, s, owned)); err != nil {
		return err
	}
	reason := ", and the operator does not delete it until all objects are applied"
	if s.paused { // The condition contains the reason.
		reason = ""
	}
	for key, o := range owned {
		if isPolicyOrService(key.Kind) && !keep[key] && !slices.Contains(pruned, o.GroupVersionKind()) && o.GetDeletionTimestamp().IsZero() && s.failures[key] == nil {
			s.failures[key] = outOfDateError(apply.Describe(o) + " is not part of the spec" + reason)
		}
	}
	return nil
}

// isPolicyOrService reports whether the kind is the Service or a kind of Istio. The
// other children have separate conditions.
func isPolicyOrService(kind schema.GroupKind) bool {
	return kind != children.VirtualMachineKind.GroupKind() && kind != children.PodNATConfigurationKind.GroupKind()
}

// applierFor selects how an object is applied. Only the lead of a Service writes the objects
// of the Service, and the other members compare them. A guest must not start before its
// policy is in place: the VirtualMachine, and the objects after it, are only
// compared when an earlier object failed and no guest exists yet. An object that the lead
// has written, and that differs, does not block it: the lead can be paused.
func (r *Reconciler) applierFor(s *scope, key apply.Key) applyFunc {
	if key.Kind == children.VirtualMachineKind.GroupKind() && s.vmi == nil && !s.paused {
		s.vmBlocked = s.fails(func(failed apply.Key, err error) bool { return s.children[failed] == nil || !s.awaitsLead(failed, err) })
	}
	applier := r.Applier
	applier.Merge = s.mergeLists
	if children.IsOfService(key.Kind) {
		if !s.leads() {
			return s.compareOnly(applier)
		}
		applier.Members = s.otherMembers()
	}
	if s.paused || s.vmBlocked {
		return applier.Check
	}
	return applier.Apply
}

func (r *Reconciler) prune(ctx context.Context, s *scope, keep map[apply.Key]bool, kinds ...schema.GroupVersionKind) error {
	return r.leadApplier(s).Prune(ctx, s.mvm, kinds, keep, s.named)
}

// named reports whether an object has the name that the operator gives to a child of
// its kind.
func (s *scope) named(o *unstructured.Unstructured) bool {
	if kind := o.GroupVersionKind().GroupKind(); kind != children.PodNATConfigurationKind.GroupKind() {
		return children.Named(kind, o.GetName(), s.mvm)
	}
	uid, _, _ := unstructured.NestedString(o.Object, "spec", "pod", "uid")
	return o.GetName() == children.PodNATConfigurationName(s.mvm.Name, types.UID(uid))
}

// liveRules returns the configurations of live pods. A pod keeps its rules even
// if no new rules can be derived.
func (s *scope) liveRules() map[apply.Key]bool {
	keep := map[apply.Key]bool{}
	for i := range s.pods {
		keep[natKey(s.mvm, &s.pods[i])] = true
	}
	return keep
}

func (r *Reconciler) input(s *scope) children.Input {
	in := children.Input{MVM: s.mvm, VMI: s.vmi, LauncherPods: s.pods, StartGate: r.StartGate, ClusterDomain: r.ClusterDomain, RootNamespace: r.RootNamespace, Service: s.sharedState()}
	if s.policies != nil {
		in.MutualTLS = func(labels map[string]string, port int32) v1alpha1.MTLSMode { return s.mutualTLS(labels).Mode(port) }
	}
	return in
}

// keepLastAccepted applies the rules of the last accepted spec to pods that
// start while the spec is not accepted. The mesh policy is also still the
// policy of that spec, and its subsets and routes follow the versions of the live
// pods. If no configuration contains these rules, the pod gets no rules and its gate
// blocks the guest. All other objects, and the rules of other pods, are unchanged.
// The configuration that contains the rules is kept after its pod is deleted.
func (r *Reconciler) keepLastAccepted(ctx context.Context, s *scope) error {
	if err := r.listChildren(ctx, s); err != nil || s.paused {
		return err
	}
	s.failures = map[apply.Key]error{}
	if err := errors.Join(r.disown(ctx, s), r.followVersions(ctx, s)); err != nil {
		return err
	}
	last := s.lastAccepted()
	if last == nil {
		return nil
	}
	in := r.input(s)
	in.LastAccepted = &last.Spec
	for _, o := range children.PodNATConfigurations(in) {
		key := apply.KeyOf(o)
		if s.children[key] != nil {
			continue
		}
		live, err := r.Applier.Apply(ctx, o, s.mvm)
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

// followVersions applies the subsets and routes of the last accepted spec with the
// versions of the live pods.
func (r *Reconciler) followVersions(ctx context.Context, s *scope) error {
	if !s.leads() {
		return nil
	}
	for _, live := range s.routing() {
		o, err := children.FollowVersions(r.input(s), live)
		if err != nil {
			return err
		}
		if o == nil {
			continue
		}
		key := apply.KeyOf(o)
		applier := r.Applier
		applier.Members = s.otherMembers()
		if live, err = applier.Apply(ctx, o, s.mvm); err != nil {
			s.failures[key] = err
			continue
		}
		s.children[key] = live
	}
	return nil
}

// resultFor returns the delay of the next reconcile. Conflicting objects and
// objects that are being deleted are watched. A rejected object is retried
// after rejectedRetry, any other error with the queue's back-off.
func resultFor(s *scope, err error) (ctrl.Result, error) {
	var result ctrl.Result
	if s.retrySoon {
		result.RequeueAfter = servedRetry
	}
	if s.awaitsAccount() {
		result.RequeueAfter = accountRetry
	}
	errs := []error{err}
	for _, failure := range s.failures {
		_, refused := patchRefused(failure)
		switch unserved := (*unavailable)(nil); {
		case refused: // A change of the spec triggers a reconcile.
		case errors.As(failure, &unserved): // A watch triggers a reconcile when the kind can be read.
		case errors.Is(failure, apply.ErrConflict), errors.Is(failure, apply.ErrTerminating), errors.Is(failure, apply.ErrDiffers),
			errors.Is(failure, apply.ErrOwnerDeleted):
		case apply.UnknownField(failure) != "", rejected(failure):
			result.RequeueAfter = rejectedRetry
		default:
			errs = append(errs, failure)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return ctrl.Result{}, err
	}
	result.RequeueAfter = s.recheck(result.RequeueAfter)
	return result, nil
}
