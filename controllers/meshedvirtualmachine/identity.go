// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"maps"
	"sync"
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

// accountValid is the time for which an existing service account is not read again, so that a
// reconcile costs no request. If the account is deleted, the API server rejects new pods.
const accountValid = 5 * time.Minute

// cluster returns the facts about the cluster on which the acceptance of a spec depends. The
// webhook does not know the service accounts: an object may be created before its service
// account.
func (r *Reconciler) cluster(ctx context.Context) validate.Cluster {
	c := r.Cluster(ctx)
	c.HasServiceAccount = r.hasServiceAccount(ctx)
	return c
}

// hasServiceAccount returns a function that reads a service account from the API server,
// unless it was read shortly before.
// One that cannot be read counts as existing, because the API server rejects pods whose
// service account does not exist.
func (r *Reconciler) hasServiceAccount(ctx context.Context) func(namespace, name string) bool {
	return func(namespace, name string) bool {
		key := client.ObjectKey{Namespace: namespace, Name: name}
		if r.accounts.found(key, r.now()) {
			return true
		}
		account := &metav1.PartialObjectMetadata{}
		account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
		err := r.Reader.Get(ctx, key, account)
		switch {
		case err == nil:
			r.accounts.remember(key, r.now())
		case client.IgnoreNotFound(err) != nil:
			ctrl.LoggerFrom(ctx).Error(err, "Cannot determine whether a service account exists", "serviceAccount", name)
		}
		return !apierrors.IsNotFound(err)
	}
}

// accounts contains the service accounts that existed less than accountValid ago.
type accounts struct {
	mu   sync.Mutex
	read map[client.ObjectKey]time.Time
}

// found reports whether a service account is known to exist.
func (a *accounts) found(key client.ObjectKey, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.read[key]
	return ok && now.Sub(at) < accountValid
}

// remember adds a service account that exists, and removes those that were read too long
// ago.
func (a *accounts) remember(key client.ObjectKey, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.read, func(_ client.ObjectKey, at time.Time) bool { return now.Sub(at) >= accountValid })
	if a.read == nil {
		a.read = map[client.ObjectKey]time.Time{}
	}
	a.read[key] = now
}

// awaitsAccount reports whether the spec names a service account that does not exist.
func (s *scope) awaitsAccount() bool {
	return s.invalid != nil && s.invalid.Reason == v1alpha1.ReasonServiceAccountNotFound
}
