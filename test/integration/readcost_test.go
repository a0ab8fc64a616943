// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var authorizationPolicyKind = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"}

// otherObjects creates Istio objects for other workloads and hosts, as many of each kind.
func (s *suite) otherObjects(each int) {
	s.Helper()
	selector := func(i int) map[string]any {
		return map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": fmt.Sprintf("other-%d", i)}}}
	}
	specs := map[schema.GroupVersionKind]func(i int) map[string]any{
		children.PeerAuthenticationKind: selector,
		authorizationPolicyKind:         selector,
		children.VirtualServiceKind: func(i int) map[string]any {
			return map[string]any{"hosts": []any{fmt.Sprintf("other-%d", i)}, "http": []any{map[string]any{"route": []any{
				map[string]any{"destination": map[string]any{"host": "other"}},
			}}}}
		},
		children.DestinationRuleKind: func(i int) map[string]any { return map[string]any{"host": fmt.Sprintf("other-%d", i)} },
	}
	var all sync.WaitGroup
	for kind, spec := range specs {
		all.Go(func() {
			for i := range each {
				u := &unstructured.Unstructured{Object: map[string]any{"spec": spec(i)}}
				u.SetGroupVersionKind(kind)
				u.SetNamespace(s.namespace)
				u.SetName(fmt.Sprintf("other-%d", i))
				if err := s.Create(s.Context(), u); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	s.Cleanup(func() {
		for kind := range specs {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(kind)
			_ = s.DeleteAllOf(context.WithoutCancel(s.Context()), u, client.InNamespace(s.namespace))
		}
	})
}

// TestCostOfOtherObjects: a reconcile does not read the Istio objects of the namespace
// that cannot apply to its guest.
func TestCostOfOtherObjects(t *testing.T) {
	s := start(t)
	s.stop()
	ctx, cancel := context.WithCancel(t.Context())
	mgr := emptyManager(t, s.config, logr.Discard())
	r := &meshedvirtualmachine.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Applier: apply.Applier{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()},
		Recorder: mgr.GetEventRecorder("meshvm"), ClusterDomain: v1alpha1.DefaultClusterDomain, RootNamespace: "istio-system",
		Cluster: controllers.Options{ClusterDomain: v1alpha1.DefaultClusterDomain, MeshRootNamespace: "istio-system"}.Cluster(mgr.GetClient()),
	}
	if err := errors.Join(cacheindex.Add(ctx, mgr.GetFieldIndexer()), r.SetupWithManager(mgr, 1)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the operator exited with: %v", err)
		}
	}
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.startGuest(o.Name, "node-a")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, yes, v1alpha1.ReasonEffective})
	// Other goroutines, for example informers, allocate at the same time.
	cost := func() float64 {
		s.quiet()
		least := math.Inf(1)
		for range 10 {
			least = min(least, testing.AllocsPerRun(5, func() {
				if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(o)}); err != nil {
					t.Error(err)
				}
			}))
		}
		return least
	}
	alone := cost()
	const each = 100
	s.otherObjects(each)
	s.eventually("the cache contains the objects", func() error {
		for _, kind := range []schema.GroupVersionKind{children.PeerAuthenticationKind, authorizationPolicyKind, children.VirtualServiceKind, children.DestinationRuleKind} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			if err := mgr.GetClient().List(ctx, list, client.InNamespace(s.namespace)); err != nil {
				return err
			}
			if len(list.Items) < each {
				return fmt.Errorf("%d of kind %s", len(list.Items), kind.Kind)
			}
		}
		return nil
	})
	crowded := cost()
	t.Logf("allocations of a reconcile: %.0f, and %.0f with %d objects of other clients in the namespace (ratio %.2f)", alone, crowded, 4*each, crowded/alone)
	if crowded > 1.1*alone {
		t.Errorf("a reconcile reads objects that do not concern its guest: %.0f allocations instead of %.0f", crowded, alone)
	}
}
