// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/meshservice"
	"meshvm.io/meshvm/internal/validate"
)

// gatherService computes the state of the Service from all of its members. The spec is not
// accepted if it contradicts that of another member. Call it after the guest was read.
func (r *Reconciler) gatherService(ctx context.Context, s *scope) error {
	name := s.mvm.ServiceName()
	list, err := r.membersOf(ctx, s.mvm.Namespace, name)
	if err != nil {
		return err
	}
	owners, err := r.serviceOwners(ctx, s.mvm.Namespace, name)
	if err != nil {
		return err
	}
	own := s.member()
	own.Rejected, own.Owner = s.invalid != nil, owners[s.mvm.UID]
	members := []meshservice.Member{own}
	for _, mvm := range oldest(list) {
		if mvm.Name == s.mvm.Name {
			continue
		}
		other := &scope{mvm: mvm.DeepCopy(), before: mvm}
		if err := r.gatherGuest(ctx, other); err != nil {
			return fmt.Errorf("read MeshedVirtualMachine %s, which shares Service %s: %w", other.mvm.Name, name, err)
		}
		m := other.member()
		_, m.Rejected = validate.FirstInvalid(validate.SpecIn(r.cluster(ctx), other.mvm))
		m.Rejected = m.Rejected || rejectsExisting(other.mvm)
		m.Owner = owners[mvm.UID]
		members = append(members, m)
	}
	s.service = meshservice.Compute(name, members, r.now())
	s.serviceKnown = true
	if message := s.service.Conflicts[s.mvm.Name]; s.invalid == nil && message != "" {
		s.invalid = &validate.Invalid{Reason: v1alpha1.ReasonServiceConflict, Message: message}
	}
	return r.gatherSelectedStrays(ctx, s)
}

// oldest returns the MeshedVirtualMachines that can be members: the oldest within the limit
// of those that are not being deleted. The guests of the others are not read.
func oldest(list []v1alpha1.MeshedVirtualMachine) []*v1alpha1.MeshedVirtualMachine {
	var out []*v1alpha1.MeshedVirtualMachine
	for i := range list {
		if list[i].DeletionTimestamp.IsZero() {
			out = append(out, &list[i])
		}
	}
	slices.SortFunc(out, meshservice.ByAge)
	return out[:min(len(out), meshservice.Limit)]
}

// serviceOwners returns the UIDs of the owners of the existing Service.
func (r *Reconciler) serviceOwners(ctx context.Context, namespace, name string) (map[types.UID]bool, error) {
	service := cacheindex.Object(children.ServiceKind)
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, service, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read Service %s: %w", name, err)
	}
	out := map[types.UID]bool{}
	for _, ref := range service.GetOwnerReferences() {
		out[ref.UID] = true
	}
	return out, nil
}

// now returns the current time.
func (r *Reconciler) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// membersOf lists the MeshedVirtualMachines with a name of a Service. They must not be
// changed.
func (r *Reconciler) membersOf(ctx context.Context, namespace, service string) ([]v1alpha1.MeshedVirtualMachine, error) {
	var list v1alpha1.MeshedVirtualMachineList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{cacheindex.Service: service}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the MeshedVirtualMachines of Service %s: %w", service, err)
	}
	return list.Items, nil
}

// member returns the object as a member of its Service.
func (s *scope) member() meshservice.Member {
	m := meshservice.Member{MVM: s.mvm, Pods: s.pods, Programmed: map[string]bool{}}
	for i := range s.pods {
		if nat, ok := s.nats[s.pods[i].UID]; ok {
			m.Programmed[s.pods[i].Name] = hasRules(&nat)
		}
	}
	return m
}

// hasRules reports whether verified rules are in effect in a pod: those of the
// PodNATConfiguration, or those before a change that is in progress.
func hasRules(nat *v1alpha1.PodNATConfiguration) bool {
	c := meta.FindStatusCondition(nat.Status.Conditions, string(v1alpha1.ConditionProgrammed))
	return nat.Status.Applied.Digest != "" && c != nil && (c.Status == metav1.ConditionTrue || c.Reason == string(v1alpha1.ReasonProgramming))
}

// leads reports whether the object writes the objects of its Service: it is the lead, or the
// only member, whose spec may not be accepted.
func (s *scope) leads() bool {
	return len(s.service.Members) == 0 || s.service.Lead().Name == s.mvm.Name
}

// lead is the MeshedVirtualMachine whose settings apply to the Service.
func (s *scope) lead() *v1alpha1.MeshedVirtualMachine {
	if s.leads() {
		return s.mvm
	}
	return s.service.Lead()
}

// shares reports whether the object shares its Service with others.
func (s *scope) shares() bool { return s.service.Shared() && s.isMember() }

func (s *scope) isMember() bool {
	return slices.ContainsFunc(s.service.Members, func(m meshservice.Member) bool { return m.MVM.Name == s.mvm.Name })
}

// sharedState is the Service as the input of its objects, nil for a Service of the object
// alone.
func (s *scope) sharedState() *meshservice.Service {
	if !s.shares() {
		return nil
	}
	return &s.service
}

// state is the Service, which is that of the object alone if no other shares it.
func (s *scope) state() meshservice.Service {
	if s.shares() {
		return s.service
	}
	return meshservice.Alone(s.mvm, s.pods)
}

// otherMembers are the owners from which the lead takes over the objects of the Service. The
// result is not nil.
func (s *scope) otherMembers() []metav1.Object {
	out := []metav1.Object{}
	for _, m := range s.service.Members {
		if m.MVM.Name != s.mvm.Name {
			out = append(out, m.MVM)
		}
	}
	return out
}

// compareOnly returns a function that compares an object of the Service, which the lead
// writes, with the one in the cache.
func (s *scope) compareOnly(applier apply.Applier) applyFunc {
	lead := s.service.Lead()
	applier.Reader = applier.Client // A watch reports the object when the lead has created it.
	applier.Members = append(s.otherMembers(), s.mvm)
	return func(ctx context.Context, desired apply.Object, _ metav1.Object) (*unstructured.Unstructured, error) {
		live, err := applier.Check(ctx, desired, lead)
		switch {
		case err == nil && live == nil:
			return nil, outOfDateError(fmt.Sprintf("%s does not exist: %s", apply.Describe(desired), s.writer(desired)))
		case outOfDate(err):
			return live, outOfDateError(fmt.Sprintf("%s: %s", err, s.writer(desired)))
		default:
			return live, err
		}
	}
}

// awaitsLead reports whether an error is a difference of an object of the Service, which
// another member, the lead, writes.
func (s *scope) awaitsLead(key apply.Key, err error) bool {
	return !s.leads() && children.IsOfService(key.Kind) && errors.Is(err, apply.ErrDiffers)
}

// fails reports whether an object failed with an error that counts.
func (s *scope) fails(counts func(apply.Key, error) bool) bool {
	for key, err := range s.failures {
		if counts(key, err) {
			return true
		}
	}
	return false
}

// leadApplier returns the applier that, for the lead, also deletes the objects that it takes
// over from the other members.
func (r *Reconciler) leadApplier(s *scope) apply.Applier {
	applier := r.Applier
	if s.serviceKnown && s.leads() {
		applier.Members = s.otherMembers()
	}
	return applier
}

// earlierObjects adds the objects of the Service that the lead takes over from the other
// members, for example a VirtualService for gateways of the earlier lead.
func (r *Reconciler) earlierObjects(ctx context.Context, s *scope, found map[apply.Key]*unstructured.Unstructured) error {
	for _, k := range s.prunable() {
		if !children.IsOfService(k.GroupKind()) {
			continue
		}
		objects, err := r.leadApplier(s).OfService(ctx, s.mvm, k, s.named)
		if err != nil {
			return err
		}
		for _, o := range objects {
			found[apply.KeyOf(o)] = o
		}
	}
	return nil
}

// writer describes who writes an object of the Service, and why this has not happened yet.
func (s *scope) writer(o apply.Object) string {
	lead := s.service.Lead()
	message := fmt.Sprintf("MeshedVirtualMachine %s, the lead of Service %s, writes it", lead.Name, s.service.Name)
	if lead.PausedByUser() {
		return message + fmt.Sprintf(" and has the annotation %s", v1alpha1.AnnotationPaused)
	}
	for _, k := range children.Kinds() {
		if k.GroupVersionKind != o.GetObjectKind().GroupVersionKind() {
			continue
		}
		for _, t := range []v1alpha1.ConditionType{v1alpha1.ConditionAccepted, k.Condition} {
			if c := meta.FindStatusCondition(lead.Status.Conditions, string(t)); c != nil && c.Status == metav1.ConditionFalse {
				return message + fmt.Sprintf("; its condition %s is False: %s", t, c.Message)
			}
		}
	}
	return message
}

// hasOwner reports whether an object of a Service, or of the guest, belongs to the
// MeshedVirtualMachine.
func (s *scope) hasOwner(o metav1.Object) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == s.mvm.UID })
}

// sharedObjects adds the existing objects of the Service, which another member controls.
func (r *Reconciler) sharedObjects(ctx context.Context, s *scope, found map[apply.Key]*unstructured.Unstructured) error {
	for _, k := range children.Kinds() {
		if s.leads() || !children.IsOfService(k.GroupKind()) {
			continue
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
		ofLead := cacheindex.Labels(map[string]string{v1alpha1.LabelMeshedVirtualMachine: s.service.Lead().Name})
		if err := r.Client.List(ctx, list, client.InNamespace(s.mvm.Namespace), ofLead); err != nil {
			return fmt.Errorf("list %s: %w", k.Kind, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; s.hasOwner(o) {
				found[apply.KeyOf(o)] = o
			}
		}
	}
	return nil
}

// sharedService returns the status of the Service if the object shares it.
func (s *scope) sharedService() v1alpha1.SharedServiceStatus {
	if !s.shares() {
		return v1alpha1.SharedServiceStatus{}
	}
	out := v1alpha1.SharedServiceStatus{Name: s.service.Name, Lead: s.service.Lead().Name}
	for _, m := range s.service.Members {
		out.Members = append(out.Members, m.MVM.Name)
	}
	for _, v := range s.service.Versions {
		out.Versions = append(out.Versions, v1alpha1.ServiceVersionStatus{
			Version: v.Name, DeclaredPercent: new(v.Declared), EffectivePercent: new(v.Effective), Serving: new(v.Serving),
		})
	}
	return out
}

// recheck returns the time after which the percentages can change without another event.
func (s *scope) recheck(after time.Duration) time.Duration {
	if !s.shares() || s.service.Recheck == 0 {
		return after
	}
	return min(s.service.Recheck, cmp.Or(after, s.service.Recheck))
}

// notSelected returns a message if a running pod must be started again to share the Service.
func (s *scope) notSelected() string {
	if !s.shares() {
		return ""
	}
	for i := range s.pods {
		if s.pods[i].Labels[v1alpha1.LabelService] == s.service.Name || launcherpod.Ended(&s.pods[i]) {
			continue
		}
		if s.leads() {
			return fmt.Sprintf("pod %s was started without the label %s=%s, so Service %s selects this guest alone: restart the guest, so that the other members get traffic",
				s.pods[i].Name, v1alpha1.LabelService, s.service.Name, s.service.Name)
		}
		return fmt.Sprintf("pod %s was started without the label %s=%s, so Service %s does not select it: restart the guest",
			s.pods[i].Name, v1alpha1.LabelService, s.service.Name, s.service.Name)
	}
	return ""
}
