// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// guestIsDeleted reports whether the guest is deleted together with the object
// because their MeshedVirtualMachine is being deleted. An object that is not
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
	case mvm == nil || !mvm.DeletionTimestamp.IsZero():
		return true, nil
	default:
		return mvm.UID != owner.UID && s.config.CreationTimestamp.Before(&mvm.CreationTimestamp), nil
	}
}

// hiddenRetry is the delay before the object of a hidden pod is examined again. No watch
// reports the end of such a pod.
const hiddenRetry = time.Minute

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

// hiddenPod returns the live pod of an object whose pod is not in the cache, or nil if
// the pod does not exist or has ended. A pod is hidden when a user has removed the label
// by which the operator's cache selects virt-launcher pods, so the pod is read from the
// API server.
func (r *Reconciler) hiddenPod(ctx context.Context, config *v1alpha1.PodNATConfiguration) (*corev1.Pod, error) {
	var pods corev1.PodList
	named := client.MatchingFields{"metadata.name": config.Spec.Pod.Name}
	if err := r.Reader.List(ctx, &pods, client.InNamespace(config.Namespace), named); err != nil {
		return nil, fmt.Errorf("read pod %s: %w", config.Spec.Pod.Name, err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.UID == config.Spec.Pod.UID && !launcherpod.Ended(p) {
			return p, nil
		}
	}
	return nil, nil
}

// dropLeftover deletes a leftover unless its pod is hidden.
func (r *Reconciler) dropLeftover(ctx context.Context, s *scope) (ctrl.Result, error) {
	hidden, err := r.hiddenPod(ctx, s.config)
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case hidden != nil:
		return ctrl.Result{RequeueAfter: hiddenRetry}, nil
	}
	uid := s.config.UID
	err = r.Client.Delete(ctx, s.config.DeepCopy(), client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete an object of a pod that does not exist: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Deleted PodNATConfiguration without a pod and without a MeshedVirtualMachine", "pod", s.config.Spec.Pod.Name)
	return ctrl.Result{}, nil
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
