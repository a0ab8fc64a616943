// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
)

// listLimit is the time for which reconciles wait for the first list of a kind. Reading a
// kind that the operator is not allowed to list would block a worker without end.
const listLimit = 10 * time.Second

// watched is the watch of a kind.
type watched struct {
	informer cache.Informer
	since    time.Time
	// awaited is set when reconciles follow the first list.
	awaited bool
}

// watch indexes and watches a kind that the cluster serves.
func (u *upstream) watch(ctx context.Context, d dependency) (*watched, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w := u.watched[d.kind]; w != nil {
		return w, nil
	}
	if err := u.index(ctx, d); err != nil {
		return nil, err
	}
	o := cacheindex.Object(d.kind)
	informer, err := u.cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", d.kind.Kind, err)
	}
	if err := u.controller.Watch(source.Kind[client.Object](u.cache, o, u.handlerOf(d.kind))); err != nil {
		return nil, fmt.Errorf("watch %s: %w", d.kind.Kind, err)
	}
	u.watched[d.kind] = &watched{informer: informer, since: time.Now()}
	return u.watched[d.kind], nil
}

// index adds the indexes of a kind. Gateways are read only by their names.
func (u *upstream) index(ctx context.Context, d dependency) error {
	if u.indexed[d.kind] || d == gateways {
		return nil
	}
	o := cacheindex.Object(d.kind)
	if err := cacheindex.AddLabel(ctx, u.cache, o, v1alpha1.LabelMeshedVirtualMachine); err != nil {
		return err
	}
	u.indexed[d.kind] = true
	if children.IsOfService(d.kind.GroupKind()) {
		if err := cacheindex.AddLabel(ctx, u.cache, o, v1alpha1.LabelService); err != nil {
			return err
		}
	}
	if d.project == children.UpstreamIstio {
		return cacheindex.AddGuest(ctx, u.cache, o)
	}
	return nil
}

// unread watches the kinds, which the cluster serves, and returns the first one that the
// cache does not contain yet, or nil. It waits only until listLimit after the start of the
// watch. If the cache contains the kind later, every MeshedVirtualMachine is reconciled.
func (u *upstream) unread(ctx context.Context, kinds ...dependency) (*dependency, error) {
	for i := range kinds {
		w, err := u.watch(ctx, kinds[i])
		if err != nil {
			return nil, err
		}
		if w.informer.HasSynced() {
			continue
		}
		limited, cancel := context.WithDeadline(ctx, w.since.Add(listLimit))
		synced := toolscache.WaitForCacheSync(limited.Done(), w.informer.HasSynced)
		cancel()
		if !synced {
			return &kinds[i], u.await(w)
		}
	}
	return nil, nil
}

// await reconciles every MeshedVirtualMachine when the cache contains the kind.
func (u *upstream) await(w *watched) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w.awaited {
		return nil
	}
	w.awaited = true
	return u.controller.Watch(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go func() {
			if !toolscache.WaitForCacheSync(ctx.Done(), w.informer.HasSynced) {
				return
			}
			for _, request := range u.all(ctx) {
				queue.Add(request)
			}
		}()
		return nil
	}))
}

// unreadMessage describes a kind that the cache does not contain.
func (d *dependency) unreadMessage() string {
	return fmt.Sprintf("could not list %s within %s: allow the operator to list and watch this resource in all namespaces (config/rbac/role.yaml)", d.crd, listLimit)
}
