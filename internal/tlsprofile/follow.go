package tlsprofile

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"

	openshiftv1 "github.com/openshift/api/config/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// The object with the cluster's profile, and the kind that it is of.
const (
	objectName = "cluster"
	crdName    = "apiservers.config.openshift.io"
)

var (
	apiServerKind = schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "APIServer"}
	crdKind       = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
)

// AddToCache makes a manager's cache hold the object whole, where it is served:
// to name the kind in the cache's options would need a cluster that has it.
func AddToCache(c *cache.Options) {
	others := c.DefaultTransform
	whole := cache.TransformStripManagedFields()
	c.DefaultTransform = func(o any) (any, error) {
		u, ok := o.(*unstructured.Unstructured)
		if others == nil || ok && u.GroupVersionKind().GroupKind() == apiServerKind.GroupKind() {
			return whole(o)
		}
		return others(o)
	}
}

func apiServer() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiServerKind)
	return u
}

// Follow keeps current at the cluster's profile, on every replica. Where the
// kind is not served there is nothing to follow; it may come later. The
// manager's client has to read unstructured objects from a cache that AddToCache
// has seen. The rights, apiservers (get, list, watch), are in config/openshift.
// The profile of this moment is in force when Follow returns.
func Follow(ctx context.Context, mgr ctrl.Manager, current *Current) error {
	f := &follower{reader: mgr.GetAPIReader(), cache: mgr.GetCache(), current: current}
	if err := f.take(ctx); err != nil {
		return err
	}
	f.reader = mgr.GetClient()
	everyReplica := false
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	isOurs := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == crdName })
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("tlsprofile").
		WatchesMetadata(crd, handler.EnqueueRequestsFromMapFunc(toObject), builder.WithPredicates(isOurs)).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Build(f)
	if err != nil {
		return fmt.Errorf("set up the following of the cluster's TLS profile: %w", err)
	}
	f.controller = c
	return nil
}

func toObject(context.Context, client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: objectName}}}
}

type follower struct {
	reader     client.Reader
	cache      cache.Cache
	controller controller.Controller
	current    *Current

	mu       sync.Mutex
	watching bool
}

// Reconcile takes over the profile of the object.
func (f *follower) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if err := f.watch(); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, f.take(ctx)
}

func (f *follower) take(ctx context.Context) error {
	u := apiServer()
	if err := f.reader.Get(ctx, types.NamespacedName{Name: objectName}, u); client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("read the cluster's TLS profile: %w", err)
	}
	var o openshiftv1.APIServer
	if u.Object["spec"] != nil {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &o); err != nil {
			return fmt.Errorf("read the cluster's TLS profile: %w", err)
		}
	}
	s := Of(o.Spec.TLSSecurityProfile)
	if f.current.Set(s) {
		ctrl.LoggerFrom(ctx).Info("The cluster's TLS profile is in force", "minVersion", tls.VersionName(s.MinVersion), "cipherSuites", len(s.CipherSuites))
	}
	return nil
}

// watch begins to watch the object, once its kind is there.
func (f *follower) watch() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watching {
		return nil
	}
	if err := f.controller.Watch(source.Kind[client.Object](f.cache, apiServer(), handler.EnqueueRequestsFromMapFunc(toObject))); err != nil {
		return fmt.Errorf("watch the cluster's TLS profile: %w", err)
	}
	f.watching = true
	return nil
}
