// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/meshservice"
	"meshvm.io/meshvm/internal/validate"
)

// adoption is the state of the VirtualMachine of spec.existingVirtualMachine.
type adoption struct {
	// checked is set when the VirtualMachine was read and all checks of the adoption were made.
	// vm is nil when it does not exist.
	checked bool
	vm      *unstructured.Unstructured
	// template is its template without the operator's labels and annotations.
	template *kubevirtv1.VirtualMachineInstanceTemplateSpec
	// done is set when the template has the labels and annotations.
	done bool
	// outdated is set while the operator is paused and the template differs.
	outdated bool
	// err is set when the template could not be written.
	err error
}

// existingPath is the path of the field that names an existing VirtualMachine.
var existingPath = field.NewPath("spec", "existingVirtualMachine")

// gatherExisting reads the existing VirtualMachine and rejects the spec if it cannot be
// adopted. It is read from the API server: the cache contains neither its spec nor its
// managed fields, because the operator does not manage it (controllers, trim).
func (r *Reconciler) gatherExisting(ctx context.Context, s *scope) error {
	if !s.mvm.Spec.Adopts() {
		return nil
	}
	vm := cacheindex.Object(children.VirtualMachineKind)
	err := client.IgnoreNotFound(r.Reader.Get(ctx, vmObjectKey(s.mvm), vm))
	if err != nil {
		return fmt.Errorf("read VirtualMachine %s: %w", s.mvm.VirtualMachineName(), err)
	}
	if vm.GetUID() != "" {
		s.adoption.vm = vm
	}
	if s.invalid == nil {
		s.invalid = missingVM(s.mvm, s.adoption.vm)
	}
	if s.invalid == nil {
		s.invalid, err = r.otherOwner(ctx, s.mvm, vm)
	}
	if err == nil && s.invalid == nil && !r.adoptsByPolicy(ctx) {
		s.invalid = missingConsent(s.mvm, vm)
	}
	if err == nil && s.invalid == nil {
		err = r.validateExisting(ctx, s)
	}
	s.adoption.checked = err == nil
	return err
}

// missingVM rejects a VirtualMachine that does not exist or is being deleted.
func missingVM(mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured) *validate.Invalid {
	name := mvm.VirtualMachineName()
	switch {
	case vm == nil:
		return validate.Invalidf(v1alpha1.ReasonVirtualMachineNotFound, existingPath.Child("name"),
			"VirtualMachine %s does not exist in namespace %s: create it, or use spec.virtualMachine of another MeshedVirtualMachine; the operator continues when it exists", name, mvm.Namespace)
	case !vm.GetDeletionTimestamp().IsZero():
		return validate.Invalidf(v1alpha1.ReasonVirtualMachineNotFound, existingPath.Child("name"),
			"VirtualMachine %s is being deleted: the operator continues when another one of this name exists; otherwise delete this MeshedVirtualMachine", name)
	default:
		return nil
	}
}

// missingConsent rejects a VirtualMachine without the annotation that names the
// MeshedVirtualMachine. Only users who may update the VirtualMachine can set it.
func missingConsent(mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured) *validate.Invalid {
	if vm.GetAnnotations()[v1alpha1.AnnotationAdoptedBy] == mvm.Name {
		return nil
	}
	return validate.Invalidf(v1alpha1.ReasonConsentMissing, existingPath.Child("name"),
		"VirtualMachine %s does not permit the adoption: a user who may update it permits it with: kubectl -n %s annotate virtualmachine %s %s=%s",
		vm.GetName(), mvm.Namespace, vm.GetName(), v1alpha1.AnnotationAdoptedBy, mvm.Name)
}

// otherOwner rejects the adoption of a VirtualMachine that belongs to another
// MeshedVirtualMachine: to the one that created it, or to the oldest that adopts it. It also
// rejects one that another object controls, for example a VirtualMachinePool, whose
// controller may replace the template.
func (r *Reconciler) otherOwner(ctx context.Context, mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured) (*validate.Invalid, error) {
	switch ref := metav1.GetControllerOf(vm); {
	case ref == nil:
	case ref.Kind == children.OwnerKind:
		return belongsTo(vm, ref.Name, "created"), nil
	default:
		return validate.Invalidf(v1alpha1.ReasonVirtualMachineConflict, existingPath.Child("name"),
			"%s %s controls VirtualMachine %s: delete this MeshedVirtualMachine, or remove the owner reference", ref.Kind, ref.Name, vm.GetName()), nil
	}
	var list v1alpha1.MeshedVirtualMachineList
	named := client.MatchingFields{cacheindex.VirtualMachine: vm.GetName()}
	if err := r.Client.List(ctx, &list, client.InNamespace(mvm.Namespace), named, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the MeshedVirtualMachines of VirtualMachine %s: %w", vm.GetName(), err)
	}
	for i := range list.Items {
		switch other := &list.Items[i]; {
		case other.UID == mvm.UID:
		case !other.Spec.Adopts() && !apply.IsForeign(vm, other):
			return belongsTo(vm, other.Name, "created"), nil
		case other.Spec.Adopts() && r.precedes(ctx, other, mvm, vm):
			return belongsTo(vm, other.Name, "adopts"), nil
		}
	}
	return nil, nil
}

// precedes reports whether another MeshedVirtualMachine has a prior claim to a
// VirtualMachine. If an annotation permits the adoption, an older one without consent has none:
// it has one only while the template has its label.
func (r *Reconciler) precedes(ctx context.Context, other, mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured) bool {
	if r.adoptsByPolicy(ctx) {
		return meshservice.ByAge(other, mvm) < 0
	}
	return children.Adopted(vm).Labels[v1alpha1.LabelMeshedVirtualMachine] == other.Name
}

func (r *Reconciler) adoptsByPolicy(ctx context.Context) bool {
	return r.Cluster(ctx).Adoption == configv1alpha1.AdoptionByPolicy
}

func belongsTo(vm *unstructured.Unstructured, mvm, how string) *validate.Invalid {
	return validate.Invalidf(v1alpha1.ReasonVirtualMachineConflict, existingPath.Child("name"),
		"MeshedVirtualMachine %s %s VirtualMachine %s: delete this MeshedVirtualMachine, or delete %s first", mvm, how, vm.GetName(), mvm)
}

// validateExisting checks the template of the existing VirtualMachine as that of
// spec.virtualMachine. The labels and annotations that the operator sets are not checked:
// if another client owns them, the apply fails with a conflict.
func (r *Reconciler) validateExisting(ctx context.Context, s *scope) error {
	var vm kubevirtv1.VirtualMachine
	clean := children.WithoutAdoption(s.adoption.vm)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(clean.Object, &vm); err != nil {
		return fmt.Errorf("decode %s: %w", apply.Describe(clean), err)
	}
	if vm.Spec.Template == nil {
		vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{}
	}
	s.adoption.template = vm.Spec.Template
	subject := s.mvm.DeepCopy()
	subject.Spec.VirtualMachine = *vm.Spec.DeepCopy()
	wanted := children.Adoption(r.input(s), s.adoption.template)
	for key := range wanted.Labels {
		delete(subject.Spec.VirtualMachine.Template.ObjectMeta.Labels, key)
	}
	for key := range wanted.Annotations {
		delete(subject.Spec.VirtualMachine.Template.ObjectMeta.Annotations, key)
	}
	err := validate.SpecIn(r.Cluster(ctx), subject)
	if s.invalid, _ = validate.FirstInvalid(err); s.invalid == nil {
		return err
	}
	if path, found := strings.CutPrefix(s.invalid.Field, "spec.virtualMachine."); found {
		s.invalid.Field = "spec." + path + " of VirtualMachine " + vm.Name
	}
	return nil
}

// adopt writes the labels and annotations of the mesh to the template of the existing
// VirtualMachine. It precedes the other objects: if the operator cannot set them, it changes
// nothing.
func (r *Reconciler) adopt(ctx context.Context, s *scope) error {
	a := &s.adoption
	if accepted := s.invalid == nil; a.vm == nil || !accepted {
		return nil
	}
	want := children.Adoption(r.input(s), a.template)
	if a.done = children.HoldsAdoption(a.vm, want); a.done {
		return nil
	}
	if a.outdated = s.paused; s.paused {
		return nil
	}
	a.vm, a.err = r.Applier.Adopt(ctx, a.vm, want)
	if conflict, ok := errors.AsType[*apply.FieldConflictError](a.err); ok {
		a.err = nil
		s.invalid = validate.Invalidf(v1alpha1.ReasonFieldConflict, existingPath, "%s", conflictMessage(s, conflict))
	}
	a.done = a.err == nil && s.invalid == nil
	return a.err
}

// conflictMessage names the fields of a conflict, their managers and the resolution.
func conflictMessage(s *scope, c *apply.FieldConflictError) string {
	message := fmt.Sprintf("VirtualMachine %s is unchanged, because %s: remove these labels and annotations from the VirtualMachine",
		s.mvm.VirtualMachineName(), c)
	if version := s.adoption.template.ObjectMeta.Labels[v1alpha1.LabelVersion]; version != "" && version != s.mvm.Spec.VersionOrDefault() {
		message += fmt.Sprintf(", or set spec.version to %s", version)
	}
	return message
}

// noteExisting adds the existing VirtualMachine to the objects of the status.
func (s *scope) noteExisting() {
	if s.adoption.vm != nil && s.children != nil {
		s.children[vmKey(s.mvm)] = s.adoption.vm
	}
}

// adopted returns the condition Adopted, and whether it is present.
func (s *scope) adopted() (conditions.Condition, bool) {
	const t = v1alpha1.ConditionAdopted
	name := s.mvm.VirtualMachineName()
	switch {
	case !s.mvm.Spec.Adopts() || !s.adoptionKnown():
		return conditions.Condition{}, false
	case s.adoption.err != nil:
		return conditions.False(t, v1alpha1.ReasonApplyFailed, s.adoption.err.Error()), true
	case s.invalid == nil && s.adoption.outdated:
		return conditions.False(t, v1alpha1.ReasonOutOfDate, "the template of VirtualMachine "+name+" does not have the labels and annotations of the mesh, and the operator is paused"), true
	case s.invalid == nil:
		return conditions.True(t, v1alpha1.ReasonAdopted, "the template of VirtualMachine "+name+" has the labels and annotations of the mesh"), true
	}
	switch s.invalid.Reason {
	case v1alpha1.ReasonVirtualMachineNotFound, v1alpha1.ReasonVirtualMachineConflict, v1alpha1.ReasonConsentMissing, v1alpha1.ReasonFieldConflict:
		return conditions.False(t, s.invalid.Reason, s.invalid.Error()), true
	default:
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not checked because Accepted is not True; the VirtualMachine is unchanged"), true
	}
}

// adoptionKnown reports whether the condition Adopted is known: an error before the template
// was compared leaves it unchanged.
func (s *scope) adoptionKnown() bool {
	a := s.adoption
	return !s.mvm.Spec.Adopts() || s.invalid != nil || a.err != nil || a.outdated || a.done
}

// acceptedBefore returns the condition Accepted of the previous reconcile. It applies while
// an error prevents the checks of the adoption.
func (s *scope) acceptedBefore() conditions.Condition {
	const t = v1alpha1.ConditionAccepted
	if c := meta.FindStatusCondition(s.mvm.Status.Conditions, string(t)); c != nil && c.ObservedGeneration == s.mvm.Generation {
		return conditions.Condition{Type: t, Status: c.Status, Reason: v1alpha1.ConditionReason(c.Reason), Message: c.Message}
	}
	return conditions.Unknown(t, v1alpha1.ReasonPending, "VirtualMachine "+s.mvm.VirtualMachineName()+" could not be checked; retrying")
}

// rejectsExisting reports whether the status shows that the existing VirtualMachine of
// another member cannot be adopted. Its template is read only for its own reconcile.
func rejectsExisting(mvm *v1alpha1.MeshedVirtualMachine) bool {
	c := meta.FindStatusCondition(mvm.Status.Conditions, string(v1alpha1.ConditionAccepted))
	return mvm.Spec.Adopts() && c != nil && c.Status == metav1.ConditionFalse && c.Reason != string(v1alpha1.ReasonServiceConflict)
}

// sidecarMissing describes a pod of an existing VirtualMachine that was started without
// Istio's sidecar, or returns an empty string.
func (s *scope) sidecarMissing() string {
	if !s.mvm.Spec.Adopts() || s.mvm.Spec.Mesh.DataPlaneOrDefault() != v1alpha1.DataPlaneSidecar {
		return ""
	}
	for i := range s.pods {
		if !launcherpod.HasSidecar(&s.pods[i]) {
			return fmt.Sprintf("pod %s was started without Istio's sidecar, so the mesh does not handle its traffic: restart the guest with: virtctl -n %s restart %s",
				s.pods[i].Name, s.mvm.Namespace, s.mvm.VirtualMachineName())
		}
	}
	return ""
}

// releaseExisting removes the labels and annotations of the mesh from the template of an
// existing VirtualMachine, in one write. It does nothing if they belong to another
// MeshedVirtualMachine.
func (r *Reconciler) releaseExisting(ctx context.Context, s *scope, vm *unstructured.Unstructured) error {
	if children.Adopted(vm).Labels[v1alpha1.LabelMeshedVirtualMachine] != s.mvm.Name {
		return nil
	}
	return client.IgnoreNotFound(r.Applier.Change(ctx, vm, children.WithoutAdoption(vm)))
}
