// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// ownerKind is the kind of the objects that control children.
const ownerKind = "MeshedVirtualMachine"

// isOrphan reports whether the object is a child of owner that has lost its owner
// reference, as after a restore from a backup: it has the operator's labels for this
// owner and no controller, or its controller is an owner of the same name that no
// longer exists.
//
// An object that is older than owner and names an earlier owner is not an orphan: a
// user deleted that owner, and the garbage collector deletes the object with it. An
// object that is not older was created with the reference of an earlier owner, which
// only a restore or a copy does.
//
// Any client that can write the object can set the labels, but has no benefit
// from it: the operator then overwrites the object's fields in the client's
// namespace, which the client can also do, and reads nothing from the object
// (docs/decisions/0020).
func isOrphan(live metav1.Object, owner metav1.Object) bool {
	labels := live.GetLabels()
	if live.GetNamespace() != owner.GetNamespace() ||
		labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByValue ||
		labels[v1alpha1.LabelMeshedVirtualMachine] != owner.GetName() {
		return false
	}
	ref := metav1.GetControllerOf(live)
	if ref == nil {
		return true
	}
	created, ownerCreated := live.GetCreationTimestamp(), owner.GetCreationTimestamp()
	return isEarlierOwner(ref, owner) && !created.Before(&ownerCreated)
}

// IsForeign reports whether the object belongs to another owner: owner does not control
// it and may not adopt it, and it is not the object of an earlier owner of the same name.
func IsForeign(live, owner metav1.Object) bool {
	if metav1.IsControlledBy(live, owner) || isOrphan(live, owner) {
		return false
	}
	ref := metav1.GetControllerOf(live)
	return ref == nil || !isEarlierOwner(ref, owner)
}

// ofMembers reports whether the object belongs to the members of the owner's Service, so
// that the owner takes it over: another member controls it, or an owner reference names a
// member and its controller, the earlier lead, is not a member any more, or it has lost its
// owner references, as after a restore or the deletion of a member with --cascade=orphan, and
// its label names the Service. Every owner must be a MeshedVirtualMachine, and the label of the Service must not name another
// one. Without the control of a member, the object must also have the label of the operator:
// a user can set an owner reference to a MeshedVirtualMachine on another object.
func (a Applier) ofMembers(live, owner metav1.Object) bool {
	labels := live.GetLabels()
	name, _, _ := strings.Cut(live.GetName(), ".") // It can have a part (package children).
	service := labels[v1alpha1.LabelService]
	if a.Members == nil || live.GetNamespace() != owner.GetNamespace() || service != "" && service != name {
		return false
	}
	member := map[types.UID]bool{owner.GetUID(): true}
	for _, m := range a.Members {
		member[m.GetUID()] = true
	}
	named := len(live.GetOwnerReferences()) == 0 && service == name
	for _, ref := range live.GetOwnerReferences() {
		if group, _, _ := strings.Cut(ref.APIVersion, "/"); group != v1alpha1.GroupVersion.Group || ref.Kind != ownerKind {
			return false
		}
		named = named || member[ref.UID]
	}
	if ref := metav1.GetControllerOf(live); ref != nil && member[ref.UID] {
		return true
	}
	return named && labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue
}

// isEarlierOwner reports whether the reference names an owner of the same name that
// no longer exists.
func isEarlierOwner(ref *metav1.OwnerReference, owner metav1.Object) bool {
	return ref.Kind == ownerKind && ref.Name == owner.GetName() && ref.UID != owner.GetUID()
}

// confirmOwner returns an error unless the API server has the owner and it is not being
// deleted. A deletion with --cascade=orphan removes the owner references of the children.
// The cache can contain such a child before it contains the deletion of its owner. If the
// operator adopted the child, the garbage collector would delete it after its owner, and
// with a VirtualMachine its disks.
func (a Applier) confirmOwner(ctx context.Context, live *unstructured.Unstructured, owner metav1.Object) error {
	// The operator has the permission to list MeshedVirtualMachines but not to get them.
	var list v1alpha1.MeshedVirtualMachineList
	if err := a.Reader.List(ctx, &list, client.InNamespace(owner.GetNamespace()), client.MatchingFields{"metadata.name": owner.GetName()}); err != nil {
		return fmt.Errorf("read the owner of %s: %w", Describe(live), err)
	}
	for i := range list.Items {
		if o := &list.Items[i]; o.UID == owner.GetUID() && o.DeletionTimestamp.IsZero() {
			return nil
		}
	}
	return fmt.Errorf("%s %w", Describe(live), ErrOwnerDeleted)
}

// adopt makes the owner of want the controller of an orphan, so that the garbage
// collector does not delete the object, and returns the object. The apply that
// follows sets the desired fields.
func (a Applier) adopt(ctx context.Context, live, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	metadata := map[string]any{
		// The write fails if the object has changed since it was read.
		"uid":             string(live.GetUID()),
		"resourceVersion": live.GetResourceVersion(),
		"ownerReferences": adoptedReferences(live, want),
	}
	patch := &unstructured.Unstructured{Object: map[string]any{"metadata": metadata}}
	if spec := exclusivePatch(live, want); spec != nil {
		patch.Object["spec"] = spec
	} else if !sharedSpec(want) {
		if surplus := surplusPatch(specOf(live), specOf(want)); surplus != nil {
			patch.Object["spec"] = surplus
		}
	}
	patch.SetGroupVersionKind(want.GroupVersionKind())
	body, err := patch.MarshalJSON()
	if err != nil {
		return live, fmt.Errorf("encode patch of %s: %w", Describe(want), err)
	}
	adopted := live.DeepCopy()
	if err := a.Client.Patch(ctx, adopted, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return live, fmt.Errorf("adopt %s: %w", Describe(want), err)
	}
	logWrite(ctx, "Adopted object", want)
	return adopted, nil
}

// ensureOwner makes owner the controller of an object, or removes the controller of an
// object that must not have one, and returns the object.
func (a Applier) ensureOwner(ctx context.Context, live, want, merged *unstructured.Unstructured, owner metav1.Object) (*unstructured.Unstructured, error) {
	switch {
	case hasSurplusOwner(live, want):
		return a.Disown(ctx, live)
	case len(want.GetOwnerReferences()) == 0 || metav1.IsControlledBy(live, owner):
		return live, nil
	}
	if err := a.confirmOwner(ctx, live, owner); err != nil {
		return live, err
	}
	return a.adopt(ctx, live, merged)
}

// hasSurplusOwner reports whether an object has a controller that it must not have. The
// controller is the owner or an earlier owner of the same name (ownedBy).
func hasSurplusOwner(live, want *unstructured.Unstructured) bool {
	return len(want.GetOwnerReferences()) == 0 && metav1.GetControllerOf(live) != nil
}

// Disown removes the controller of an object, and returns the object. It is a separate
// write, because server-side apply keeps a reference that an adoption wrote.
func (a Applier) Disown(ctx context.Context, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	changed := live.DeepCopy()
	changed.SetOwnerReferences(withoutControllers(changed.GetOwnerReferences()))
	if err := a.Change(ctx, live, changed); err != nil {
		return live, err
	}
	return changed, nil
}

func withoutControllers(refs []metav1.OwnerReference) []metav1.OwnerReference {
	return slices.DeleteFunc(refs, func(r metav1.OwnerReference) bool { return r.Controller != nil && *r.Controller })
}

// Change writes the difference between an object and a changed copy. The write fails if
// the object has changed since it was read. The copy becomes the object as it is stored.
func (a Applier) Change(ctx context.Context, live, changed *unstructured.Unstructured) error {
	patch := client.MergeFromWithOptions(live, client.MergeFromWithOptimisticLock{})
	if err := a.Client.Patch(ctx, changed, patch, client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return fmt.Errorf("patch %s: %w", Describe(live), err)
	}
	logWrite(ctx, "Changed object", live)
	return nil
}

// adoptedReferences returns the owner references of an orphan after its
// adoption: the references of want replace the controller that no longer
// exists, and the references to the same owners.
func adoptedReferences(live, want *unstructured.Unstructured) []any {
	refs, _, _ := unstructured.NestedSlice(live.Object, "metadata", "ownerReferences")
	wanted, _, _ := unstructured.NestedSlice(want.Object, "metadata", "ownerReferences")
	refs = slices.DeleteFunc(refs, func(r any) bool {
		ref, ok := r.(map[string]any)
		return ok && (ref["controller"] == true || slices.ContainsFunc(wanted, func(w any) bool {
			other, ok := w.(map[string]any)
			return ok && other["uid"] == ref["uid"]
		}))
	})
	return append(refs, wanted...)
}

// sharedSpec reports whether other components write fields of the spec that belong
// to the object's identity: the addresses and node ports of a Service, and the
// firmware UUID, MAC addresses and volumes of a VirtualMachine. An adoption preserves
// all fields of such a spec that the desired object does not set.
func sharedSpec(o *unstructured.Unstructured) bool {
	return o.GetKind() == "Service" || o.GetKind() == "VirtualMachine"
}

// surplusPatch returns the JSON merge patch (RFC 7386) that removes the fields
// of live that want does not have, or nil if no field is removed. A restored
// object may have fields of an earlier spec, which server-side apply does not
// remove because the field manager of the restore owns them.
func surplusPatch(live, want map[string]any) map[string]any {
	patch := map[string]any{}
	for k, l := range live {
		w, wanted := want[k]
		lm, isMap := l.(map[string]any)
		wm, wantsMap := w.(map[string]any)
		switch {
		case !wanted:
			patch[k] = nil
		case isMap && wantsMap:
			if p := surplusPatch(lm, wm); p != nil {
				patch[k] = p
			}
		}
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

func specOf(o *unstructured.Unstructured) map[string]any {
	m, _ := o.Object["spec"].(map[string]any)
	return m
}
