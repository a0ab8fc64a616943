// SPDX-License-Identifier: Apache-2.0

package tlsprofile

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	openshiftv1 "github.com/openshift/api/config/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// servedRetry is the interval at which a kind with a CRD that is not served yet
// is checked.
const servedRetry = time.Second

// The object with the cluster's profile and its kind.
const (
	objectName = "cluster"
	crdName    = "apiservers.config.openshift.io"
)

var (
	apiServerKind = schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "APIServer"}
	crdKind       = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
)

func apiServer() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiServerKind)
	return u
}

// Follow keeps current equal to the cluster's profile on every replica while no
// other profile is chosen. If the kind is not served, it waits for the kind.
// The RBAC permission, apiservers (get, list, watch), is in config/openshift.
// Without it, the current profile remains in effect and an error is logged. The
// profile at the time of the call is in effect when Follow returns. Call the
// returned function after Choose(nil).
func Follow(ctx context.Context, mgr ctrl.Manager, current *Current) (func(), error) {
	f := &follower{mgr: mgr, current: current}
	if current.follows() {
		if _, err := f.take(ctx); err != nil && !meta.IsNoMatchError(err) {
			return nil, err
		}
	}
	everyReplica := false
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	isOurs := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == crdName })
	again := make(chan event.GenericEvent, 1)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("tlsprofile").
		WatchesMetadata(crd, handler.EnqueueRequestsFromMapFunc(toObject), builder.WithPredicates(isOurs)).
		WatchesRawSource(source.Channel(again, handler.EnqueueRequestsFromMapFunc(toObject))).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Build(f)
	if err != nil {
		return nil, fmt.Errorf("set up the controller of the cluster's TLS profile: %w", err)
	}
	f.controller = c
	return func() {
		select {
		case again <- event.GenericEvent{Object: apiServer()}:
		default: // An event is already pending.
		}
	}, nil
}

func toObject(context.Context, client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: objectName}}}
}

type follower struct {
	mgr        ctrl.Manager
	controller controller.Controller
	current    *Current

	mu       sync.Mutex
	watching bool
}

// Reconcile applies the profile of the object.
func (f *follower) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if !f.current.follows() {
		return reconcile.Result{}, nil
	}
	readable, err := f.take(ctx)
	switch {
	case meta.IsNoMatchError(err):
		return f.awaitKind(ctx)
	case err != nil || !readable:
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, f.watch()
}

// awaitKind requeues if the CRD of the kind exists, because no event is sent
// when the kind becomes available.
func (f *follower) awaitKind(ctx context.Context) (reconcile.Result, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	if err := f.mgr.GetClient().Get(ctx, types.NamespacedName{Name: crdName}, crd); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	return reconcile.Result{RequeueAfter: servedRetry}, nil
}

// take applies the object's profile. It reports whether the object may be read.
// The object may be missing. The error is a NoMatch if the kind does not exist.
func (f *follower) take(ctx context.Context) (readable bool, err error) {
	u := apiServer()
	err = f.mgr.GetAPIReader().Get(ctx, types.NamespacedName{Name: objectName}, u)
	switch {
	case apierrors.IsForbidden(err):
		ctrl.LoggerFrom(ctx).Info("Not allowed to read the cluster's TLS profile. Apply config/openshift/tls_profile_role.yaml and restart the manager, or set tls.profile", "error", err.Error())
		return false, nil
	case meta.IsNoMatchError(err):
		f.current.Set(Of(nil))
		return false, err
	case client.IgnoreNotFound(err) != nil:
		return false, fmt.Errorf("read the cluster's TLS profile: %w", err)
	}
	var o openshiftv1.APIServer
	if u.Object["spec"] != nil {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err != nil {
			return false, fmt.Errorf("read the cluster's TLS profile: %w", err)
		}
	}
	s := Of(o.Spec.TLSSecurityProfile)
	if f.current.Set(s) {
		ctrl.LoggerFrom(ctx).Info("TLS profile of the cluster applied", "minVersion", tls.VersionName(s.MinVersion), "cipherSuites", len(s.CipherSuites))
	}
	return true, nil
}

// watch starts watching the object once its kind exists. A cache cannot start
// for a kind that does not exist, so a separate cache is started later than the
// manager's cache.
func (f *follower) watch() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watching {
		return nil
	}
	c, err := cache.New(f.mgr.GetConfig(), cache.Options{
		HTTPClient: f.mgr.GetHTTPClient(), Scheme: f.mgr.GetScheme(), Mapper: f.mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{apiServer(): {Field: fields.OneTermEqualSelector("metadata.name", objectName)}},
	})
	if err != nil {
		return fmt.Errorf("watch the cluster's TLS profile: %w", err)
	}
	if err := f.controller.Watch(source.Kind[client.Object](c, apiServer(), handler.EnqueueRequestsFromMapFunc(toObject))); err != nil {
		return fmt.Errorf("watch the cluster's TLS profile: %w", err)
	}
	if err := f.mgr.Add(everywhere{c}); err != nil {
		return fmt.Errorf("watch the cluster's TLS profile: %w", err)
	}
	f.watching = true
	return nil
}

// everywhere is a Runnable that runs a cache on every replica.
type everywhere struct{ cache.Cache }

// NeedLeaderElection returns false because every replica serves TLS.
func (everywhere) NeedLeaderElection() bool { return false }
