// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
)

// accountRetry is the time after which a missing service account is looked for again. A
// watch would require the permission to list all service accounts.
const accountRetry = 30 * time.Second

// cluster returns the facts about the cluster on which the acceptance of a spec depends. The
// webhook does not know the service accounts: an object may be created before its service
// account.
func (r *Reconciler) cluster(ctx context.Context) validate.Cluster {
	c := r.Cluster(ctx)
	c.HasServiceAccount = r.hasServiceAccount(ctx)
	return c
}

// hasServiceAccount returns a function that reads a service account from the API server.
// One that cannot be read counts as existing, because the API server rejects pods whose
// service account does not exist.
func (r *Reconciler) hasServiceAccount(ctx context.Context) func(namespace, name string) bool {
	return func(namespace, name string) bool {
		account := &metav1.PartialObjectMetadata{}
		account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
		err := r.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, account)
		if client.IgnoreNotFound(err) != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Cannot determine whether a service account exists", "serviceAccount", name)
		}
		return !apierrors.IsNotFound(err)
	}
}

// awaitsAccount reports whether the spec names a service account that does not exist.
func (s *scope) awaitsAccount() bool {
	return s.invalid != nil && s.invalid.Reason == v1alpha1.ReasonServiceAccountNotFound
}
