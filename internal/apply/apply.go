// SPDX-License-Identifier: Apache-2.0

// Package apply is the only writer of the child objects of a MeshedVirtualMachine.
// It uses server-side apply (KEP-555) with one field manager, writes nothing when
// the live object already has the desired fields, adopts children that lost their
// owner reference, and never takes over any other object.
package apply

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
)

// Object is an object that can be applied: typed or unstructured, with its kind set.
type Object interface {
	metav1.Object
	runtime.Object
}

// ErrConflict marks an object of the desired name that is not controlled by the
// MeshedVirtualMachine. The object is unchanged.
var ErrConflict = errors.New("is not controlled by this MeshedVirtualMachine")

// ErrTerminating marks an object of the desired name that is being deleted. The
// watch reports the end of the deletion, so no retry is necessary.
var ErrTerminating = errors.New("is being deleted: the operator creates it again after the deletion")

// ErrOwnerDeleted marks an orphan that is not adopted because its owner is being deleted
// or does not exist any more.
var ErrOwnerDeleted = errors.New("is not adopted because its MeshedVirtualMachine is being deleted")

// ErrDiffers marks an object that does not have the desired fields.
var ErrDiffers = errors.New("differs from the desired state")

// maxAttempts is the number of writes of an object whose lists other clients change at
// the same time, before the error is returned.
const maxAttempts = 8

// MergeFunc returns the desired object combined with lists of the live object, nil
// for no live object, to which other clients also write. It returns nil for an object
// that the operator does not share.
type MergeFunc func(want, live *unstructured.Unstructured) *unstructured.Unstructured

// Applier writes objects. Its zero value is not usable.
type Applier struct {
	// Client writes, and reads from the cache.
	Client client.Client
	// Reader reads from the API server. It is used before an object is created,
	// because the cache may not contain an existing object yet, before an object
	// with shared lists is written, and before an object is adopted.
	Reader client.Reader
	// Merge merges lists that the operator shares with other clients. Optional.
	Merge MergeFunc
	// Members are the other members of the Service to which the object belongs, not nil
	// for such an object. The owner takes it over from them.
	Members []metav1.Object
}

// Apply writes the fields of desired to the live object, if they differ, and
// returns the live object. owner is the controller of desired, unless desired has no
// owner reference. A child of owner that lost its owner reference is adopted, and one
// that must not have it loses it. Any other object of that name is an error
// that wraps ErrConflict. Each write logs one line.
func (a Applier) Apply(ctx context.Context, desired Object, owner metav1.Object) (*unstructured.Unstructured, error) {
	want, err := Intent(desired)
	if err != nil {
		return nil, err
	}
	live, err := a.find(ctx, want)
	if err != nil {
		return nil, err
	}
	if live == nil {
		if len(want.GetOwnerReferences()) == 0 && owner.GetDeletionTimestamp().IsZero() {
			// The garbage collector would never delete the object.
			if err := a.confirmOwner(ctx, want, owner); err != nil {
				return nil, err
			}
		}
		merged, _ := a.merged(want, nil)
		sent := merged.DeepCopy()
		if err := a.send(ctx, sent); err != nil {
			return nil, err
		}
		logWrite(ctx, "Created object", want)
		return a.replaceLists(ctx, sent, merged, false)
	}
	return a.update(ctx, live, want, owner)
}

// update writes the desired fields to an existing object. An object whose lists are
// shared is read from the API server before it is written, because the cache can be
// older than another client's write, and the write fails if another client writes in
// between. Then it is repeated with the new lists.
func (a Applier) update(ctx context.Context, live, want *unstructured.Unstructured, owner metav1.Object) (*unstructured.Unstructured, error) {
	var err error
	for fresh, conflicts := false, 0; ; {
		if err := a.ownedBy(live, owner); err != nil {
			return live, err
		}
		merged, shared := a.merged(want, live)
		if Holds(live, merged) && !hasSurplusOwner(live, want) {
			return live, nil
		}
		if shared && !fresh {
			current := live.DeepCopy()
			if err := a.Reader.Get(ctx, client.ObjectKeyFromObject(want), current); err != nil {
				return live, fmt.Errorf("read %s: %w", Describe(want), err)
			}
			live, fresh = current, true
			continue
		}
		if live, err = a.ensureOwner(ctx, live, want, merged, owner); err != nil {
			return live, err
		}
		if live, err = a.removeSurplus(ctx, live, merged); err != nil {
			return live, err
		}
		// The UID makes the write fail if the object was replaced since the read.
		// Ownership is forced only for an existing object: an object that another
		// client created in the meantime must be a conflict.
		sent := merged.DeepCopy()
		sent.SetUID(live.GetUID())
		if shared {
			sent.SetResourceVersion(live.GetResourceVersion())
		}
		err = a.send(ctx, sent, client.ForceOwnership)
		if shared && apierrors.IsConflict(err) {
			if conflicts++; conflicts < maxAttempts {
				fresh = false
				continue
			}
		}
		if err != nil {
			return live, err
		}
		logWrite(ctx, "Updated object", want)
		return a.replaceLists(ctx, sent, merged, shared)
	}
}

// merged returns the object to apply, and whether its lists are shared with
// other clients.
func (a Applier) merged(want, live *unstructured.Unstructured) (merged *unstructured.Unstructured, shared bool) {
	if a.Merge != nil {
		if m := a.Merge(want, live); m != nil {
			return m, true
		}
	}
	return want, false
}

// send applies an object and stores the response in it.
func (a Applier) send(ctx context.Context, o *unstructured.Unstructured, options ...client.ApplyOption) error {
	options = append(options, client.FieldOwner(v1alpha1.FieldOwner))
	if err := a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), options...); err != nil {
		return fmt.Errorf("apply %s: %w", Describe(o), err)
	}
	return nil
}

// find returns the live object, or nil. If the cache does not contain the
// object, it reads the object from the API server, so that an existing object
// is never overwritten.
func (a Applier) find(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for _, r := range []client.Reader{a.Client, a.Reader} {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(want.GroupVersionKind())
		err := r.Get(ctx, client.ObjectKeyFromObject(want), live)
		switch {
		case err == nil:
			return live, nil
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("read %s: %w", Describe(want), err)
		}
	}
	return nil, nil
}

// replaceLists sets lists that still differ after server-side apply. In an
// associative list, for example a Service's ports, server-side apply keeps elements
// that another field manager added. These are drift as well, unless the list is
// shared and was merged.
func (a Applier) replaceLists(ctx context.Context, got, want *unstructured.Unstructured, shared bool) (*unstructured.Unstructured, error) {
	patch := listPatch(got.Object, want.Object)
	if patch == nil {
		return got, nil
	}
	u := &unstructured.Unstructured{Object: patch}
	if shared {
		u.SetResourceVersion(got.GetResourceVersion())
	}
	body, err := u.MarshalJSON()
	if err != nil {
		return got, fmt.Errorf("encode patch of %s: %w", Describe(want), err)
	}
	if err := a.Client.Patch(ctx, got, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return got, fmt.Errorf("patch %s: %w", Describe(want), err)
	}
	logWrite(ctx, "Replaced lists of object", want)
	return got, nil
}

// Check compares the live object with desired and writes nothing. It returns
// nil without an error if no object exists. Its errors wrap ErrConflict,
// ErrTerminating or ErrDiffers.
func (a Applier) Check(ctx context.Context, desired Object, owner metav1.Object) (*unstructured.Unstructured, error) {
	want, err := Intent(desired)
	if err != nil {
		return nil, err
	}
	live, err := a.find(ctx, want)
	if err != nil || live == nil {
		return nil, err
	}
	if err := a.ownedBy(live, owner); err != nil {
		return live, err
	}
	if merged, _ := a.merged(want, live); hasSurplusOwner(live, want) || !Holds(live, merged) {
		return live, fmt.Errorf("%s %w", Describe(want), ErrDiffers)
	}
	return live, nil
}

// ownedBy returns an error unless owner controls the object, or may adopt it,
// and it is not being deleted. The messages never recommend deleting an object,
// because it can contain data.
func (a Applier) ownedBy(live *unstructured.Unstructured, owner metav1.Object) error {
	ref := metav1.GetControllerOf(live)
	switch {
	case !live.GetDeletionTimestamp().IsZero():
		return fmt.Errorf("%s %w", Describe(live), ErrTerminating)
	case metav1.IsControlledBy(live, owner) || isOrphan(live, owner) || a.ofMembers(live, owner):
		return nil
	case ref == nil:
		return fmt.Errorf("%s exists and %w: give the MeshedVirtualMachine another name, or, to let it take over the object and overwrite its spec, set the object's labels %s=%s and %s=%s",
			Describe(live), ErrConflict, v1alpha1.LabelManagedBy, v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine, owner.GetName())
	case isEarlierOwner(ref, owner):
		// The garbage collector deletes it with its owner, which no longer exists.
		return fmt.Errorf("%s, which an earlier %s of this name controls, %w", Describe(live), ref.Kind, ErrTerminating)
	default:
		return fmt.Errorf("%s exists and %w: %s %s controls it; give the MeshedVirtualMachine another name", Describe(live), ErrConflict, ref.Kind, ref.Name)
	}
}

// Describe returns the name of an object for messages, for example "Service
// shop/web".
func Describe(o Object) string {
	return fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}

// Named reports whether an object has the name that the operator gives to a child.
type Named func(*unstructured.Unstructured) bool

// Prune deletes the objects of the kinds that owner controls, or would adopt, and
// that keep does not name. Of the orphans it deletes only those that are named as the
// operator names them: a copy of a child that a user made has the same labels. With
// Members, it also deletes those that owner would take over (OfService). Each
// deletion logs one line. Call it only after every apply succeeded: a failed apply
// must not lead to the deletion of working objects.
func (a Applier) Prune(ctx context.Context, owner *v1alpha1.MeshedVirtualMachine, kinds []schema.GroupVersionKind, keep map[Key]bool, named Named) error {
	var errs []error
	for _, gvk := range kinds {
		found, err := a.list(ctx, owner, gvk, v1alpha1.LabelMeshedVirtualMachine, owner.GetName(), func(o *unstructured.Unstructured) bool {
			return metav1.IsControlledBy(o, owner) || isOrphan(o, owner) && named(o)
		})
		errs = append(errs, err)
		if children.IsOfService(gvk.GroupKind()) {
			others, err := a.OfService(ctx, owner, gvk, named)
			errs, found = append(errs, err), append(found, others...)
		}
		deleted := map[types.UID]bool{}
		for _, o := range found {
			uid := o.GetUID()
			if keep[KeyOf(o)] || deleted[uid] || !o.GetDeletionTimestamp().IsZero() {
				continue
			}
			deleted[uid] = true
			err := a.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
			switch {
			case err == nil:
				logWrite(ctx, "Deleted object", o)
			case client.IgnoreNotFound(err) != nil:
				errs = append(errs, fmt.Errorf("delete %s: %w", Describe(o), err))
			}
		}
	}
	return errors.Join(errs...)
}

// OfService returns the objects of a kind with the label of the owner's Service that the
// owner, the lead of the Service, takes over from its members, for example from the earlier
// lead. They must not be changed. Without Members, the result is empty.
func (a Applier) OfService(ctx context.Context, owner *v1alpha1.MeshedVirtualMachine, gvk schema.GroupVersionKind, named Named) ([]*unstructured.Unstructured, error) {
	if a.Members == nil {
		return nil, nil
	}
	return a.list(ctx, owner, gvk, v1alpha1.LabelService, owner.ServiceName(), func(o *unstructured.Unstructured) bool {
		return named(o) && a.ofMembers(o, owner)
	})
}

// list returns the objects of a kind with a label that belong to the owner. They are not
// copied, so they must not be changed.
func (a Applier) list(ctx context.Context, owner metav1.Object, gvk schema.GroupVersionKind, label, value string, belongs Named) ([]*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	labeled := cacheindex.Labels(map[string]string{label: value})
	if err := a.Client.List(ctx, list, client.InNamespace(owner.GetNamespace()), labeled, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list %s: %w", gvk.Kind, err)
	}
	var out []*unstructured.Unstructured
	for i := range list.Items {
		if o := &list.Items[i]; belongs(o) {
			out = append(out, o)
		}
	}
	return out, nil
}

// Key identifies an object within one namespace.
type Key struct {
	// Kind is the object's group and kind.
	Kind schema.GroupKind
	// Name is the object's name.
	Name string
}

// logWrite logs a write to an object, with its kind as the key. The keys namespace and
// name are those of the reconciled object (controller-runtime, pkg/builder).
func logWrite(ctx context.Context, message string, o Object) {
	logf.FromContext(ctx).Info(message, o.GetObjectKind().GroupVersionKind().Kind, client.ObjectKeyFromObject(o))
}

// KeyOf returns the key of an object.
func KeyOf(o Object) Key {
	return Key{Kind: o.GetObjectKind().GroupVersionKind().GroupKind(), Name: o.GetName()}
}
