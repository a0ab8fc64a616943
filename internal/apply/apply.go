// SPDX-License-Identifier: Apache-2.0

// Package apply is the only writer of the objects that the operator makes for
// a MeshedVirtualMachine. It uses server-side apply (KEP-555) under one field
// owner, writes nothing when the live object already holds what is wanted, and
// never takes over an object that belongs to somebody else.
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

	"meshvm.io/meshvm/api/v1alpha1"
)

// Object is what can be applied: typed or unstructured, with its kind set.
type Object interface {
	metav1.Object
	runtime.Object
}

// ErrConflict marks an object of the wanted name that belongs to somebody
// else. It is left as it is.
var ErrConflict = errors.New("belongs to somebody else")

// ErrTerminating marks an object of the wanted name that is being deleted. Its
// end is an event, so nobody needs to try again before.
var ErrTerminating = errors.New("is being deleted; it is made again when it is gone")

// ErrDiffers marks an object that does not hold what is wanted.
var ErrDiffers = errors.New("differs from what is wanted")

// Applier writes objects. Its zero value is not usable.
type Applier struct {
	// Client writes, and reads from the cache.
	Client client.Client
	// Reader reads from the API server itself. It is asked only before an
	// object is created, because the cache may not have seen a foreign one.
	Reader client.Reader
}

// Apply brings the live object to hold everything that desired holds, and
// returns it as found or written. owner must be the controller of desired.
// An object of that name with another controller, or with none, yields an
// error that wraps ErrConflict.
func (a Applier) Apply(ctx context.Context, desired Object, owner types.UID) (*unstructured.Unstructured, error) {
	want, err := Intent(desired)
	if err != nil {
		return nil, err
	}
	live, err := a.find(ctx, want)
	if err != nil {
		return nil, err
	}
	got := want.DeepCopy()
	options := []client.ApplyOption{client.FieldOwner(v1alpha1.FieldOwner)}
	if live != nil {
		if err := ownedBy(live, want, owner); err != nil {
			return live, err
		}
		if Holds(live, want) {
			return live, nil
		}
		// Only the object that was looked at is overwritten, and only an
		// object that exists: fields of one that another made in between
		// would be a conflict.
		got.SetUID(live.GetUID())
		options = append(options, client.ForceOwnership)
	}
	if err := a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(got), options...); err != nil {
		return live, fmt.Errorf("apply %s: %w", Describe(want), err)
	}
	return a.replaceLists(ctx, got, want)
}

// find returns the live object or nil. What the cache does not have is looked
// for at the API server, so that a foreign object is never overwritten.
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

// replaceLists sets lists that still differ after server-side apply: in an
// associative list (a Service's ports, for example) it keeps elements that
// another field manager added, but these are drift like any other.
func (a Applier) replaceLists(ctx context.Context, got, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	patch := listPatch(got.Object, want.Object)
	if patch == nil {
		return got, nil
	}
	u := &unstructured.Unstructured{Object: patch}
	body, err := u.MarshalJSON()
	if err != nil {
		return got, fmt.Errorf("encode patch of %s: %w", Describe(want), err)
	}
	if err := a.Client.Patch(ctx, got, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return got, fmt.Errorf("patch %s: %w", Describe(want), err)
	}
	return got, nil
}

// Check says, without writing, whether the live object is ours and holds
// everything that desired holds. A nil object without an error means that there
// is none; ErrConflict, ErrTerminating and ErrDiffers say what is wrong.
func (a Applier) Check(ctx context.Context, desired Object, owner types.UID) (*unstructured.Unstructured, error) {
	want, err := Intent(desired)
	if err != nil {
		return nil, err
	}
	live, err := a.find(ctx, want)
	if err != nil || live == nil {
		return nil, err
	}
	if err := ownedBy(live, want, owner); err != nil {
		return live, err
	}
	if !Holds(live, want) {
		return live, fmt.Errorf("%s %w", Describe(want), ErrDiffers)
	}
	return live, nil
}

// ownedBy says whether the object's controller is that of want, and there to
// stay.
func ownedBy(live, want *unstructured.Unstructured, owner types.UID) error {
	ref, mine := metav1.GetControllerOf(live), metav1.GetControllerOf(want)
	switch {
	case !live.GetDeletionTimestamp().IsZero():
		return fmt.Errorf("%s %w", Describe(live), ErrTerminating)
	case ref != nil && mine != nil && ref.UID != owner && ref.Kind == mine.Kind && ref.Name == mine.Name:
		// It is about to be collected with an owner that is gone already.
		return fmt.Errorf("%s of an earlier %s %w", Describe(live), ref.Kind, ErrTerminating)
	case ref == nil:
		return fmt.Errorf("%s exists and %w: delete it, or give the MeshedVirtualMachine another name", Describe(live), ErrConflict)
	case ref.UID != owner:
		return fmt.Errorf("%s exists and %w (%s %s): rename one of the two", Describe(live), ErrConflict, ref.Kind, ref.Name)
	}
	return nil
}

// Describe names an object in messages: "Service shop/web".
func Describe(o Object) string {
	return fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}

// Prune deletes the objects of the kinds that owner controls and that keep
// does not name. Call it only after every apply succeeded: a failed apply must
// not cost what an earlier one made.
func (a Applier) Prune(ctx context.Context, namespace string, owner types.UID, selector client.MatchingLabels, kinds []schema.GroupVersionKind, keep map[Key]bool) error {
	var errs []error
	for _, gvk := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := a.Client.List(ctx, list, client.InNamespace(namespace), selector); err != nil {
			errs = append(errs, fmt.Errorf("list %s: %w", gvk.Kind, err))
			continue
		}
		for i := range list.Items {
			o := &list.Items[i]
			ref := metav1.GetControllerOf(o)
			if keep[Key{Kind: gvk.GroupKind(), Name: o.GetName()}] || ref == nil || ref.UID != owner || !o.GetDeletionTimestamp().IsZero() {
				continue
			}
			uid := o.GetUID()
			err := a.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
			if client.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("delete %s: %w", Describe(o), err))
			}
		}
	}
	return errors.Join(errs...)
}

// Key names an object of a kind within one namespace.
type Key struct {
	// Kind is the object's group and kind.
	Kind schema.GroupKind
	// Name is the object's name.
	Name string
}

// KeyOf is the key of an object.
func KeyOf(o Object) Key {
	return Key{Kind: o.GetObjectKind().GroupVersionKind().GroupKind(), Name: o.GetName()}
}
