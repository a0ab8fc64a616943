// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// guestIsDeleted reports whether the guest is deleted together with the object
// because their MeshedVirtualMachine is being deleted and does not keep its
// VirtualMachine. An object that is not
// older than another MeshedVirtualMachine with this name was restored for its
// guest, which keeps running.
func (r *Reconciler) guestIsDeleted(ctx context.Context, s *scope) (bool, error) {
	owner := metav1.GetControllerOf(s.config)
	if owner == nil {
		return false, nil
	}
	mvm, err := r.readMVM(ctx, s, owner.Name)
	switch {
	case err != nil:
		return false, err
	case mvm == nil:
		return true, nil
	case !mvm.DeletionTimestamp.IsZero():
		return !mvm.ReleasesVirtualMachine(), nil
	default:
		return mvm.UID != owner.UID && s.config.CreationTimestamp.Before(&mvm.CreationTimestamp), nil
	}
}

// isLeftover reports whether the object has no controller, for example after a restore
// from a backup, and its pod and MeshedVirtualMachine do not exist. When the
// MeshedVirtualMachine exists, its controller adopts or deletes the object. The operator
// creates no object without a controller, and only for an existing pod.
func (r *Reconciler) isLeftover(ctx context.Context, s *scope) (bool, error) {
	if metav1.GetControllerOf(s.config) != nil || s.pod != nil || s.config.Labels[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByValue {
		return false, nil
	}
	mvm, err := r.readMVM(ctx, s, s.config.Labels[v1alpha1.LabelMeshedVirtualMachine])
	return err == nil && mvm == nil, err
}

// dropLeftover deletes a leftover.
func (r *Reconciler) dropLeftover(ctx context.Context, s *scope) error {
	uid := s.config.UID
	err := r.Client.Delete(ctx, s.config.DeepCopy(), client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete an object of a pod that does not exist: %w", err)
	}
	if err == nil {
		ctrl.LoggerFrom(ctx).Info("Deleted PodNATConfiguration without a pod and without a MeshedVirtualMachine", "pod", s.config.Spec.Pod.Name)
	}
	return nil
}

// readMVM returns the MeshedVirtualMachine with this name, or nil if none
// exists.
func (r *Reconciler) readMVM(ctx context.Context, s *scope, name string) (*v1alpha1.MeshedVirtualMachine, error) {
	var mvm v1alpha1.MeshedVirtualMachine
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.config.Namespace, Name: name}, &mvm)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read MeshedVirtualMachine %s: %w", name, err)
	}
	return &mvm, nil
}
