// SPDX-License-Identifier: Apache-2.0

// Package controllers registers the operator's controllers and configures the cache
// from which they read.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers/audit"
	"meshvm.io/meshvm/controllers/connectiontrace"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	"meshvm.io/meshvm/controllers/podnatconfiguration"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/rulejob"
)

// Options are the settings of an installation.
type Options struct {
	// Jobs is the configuration of rule-writer Jobs.
	Jobs rulejob.Config
	// Workers is the number of objects of a kind that are reconciled concurrently.
	Workers int
	// AuditInterval is the time between two audits of a node. Nil disables audits.
	AuditInterval *audit.Interval
	// Limits bound repairs while another process keeps changing the rules.
	// Defaults to drift.DefaultLimits.
	Limits drift.Limits
	// StartGate specifies how the start of guests is delayed until their rules are
	// verified.
	StartGate children.StartGate
	// ClusterDomain is the DNS domain of the cluster. Defaults to
	// v1alpha1.DefaultClusterDomain.
	ClusterDomain string
	// ClusterResolvers are the addresses of the cluster's DNS resolvers, empty if
	// unknown.
	ClusterResolvers []string
	// MeshRootNamespace is Istio's root namespace. Defaults to
	// meshpolicy.DefaultRootNamespace.
	MeshRootNamespace string
	// Gateways specifies the Gateways that MeshedVirtualMachines may name.
	Gateways configv1alpha1.Gateways
	// Patches specifies whether MeshedVirtualMachines may contain patches. They may not by
	// default.
	Patches configv1alpha1.Mode
	// Adoption specifies who may let MeshedVirtualMachines adopt existing VirtualMachines.
	Adoption configv1alpha1.AdoptionMode
	// Unpauser unpauses guests that were started paused. Defaults to KubeVirt's API.
	Unpauser meshedvirtualmachine.Unpauser
	// Now returns the current time.
	Now func() time.Time
}

// setDefaults sets the options that are not set, and the clock to the wall clock.
func (o *Options) setDefaults() {
	if o.AuditInterval == nil {
		o.AuditInterval = audit.Every(0)
	}
	o.ClusterDomain = cmp.Or(o.ClusterDomain, v1alpha1.DefaultClusterDomain)
	o.MeshRootNamespace = cmp.Or(o.MeshRootNamespace, meshpolicy.DefaultRootNamespace)
	o.Now = wallClock(o.Now)
}

// Setup registers all controllers with the manager.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	o.setDefaults()
	limits := func() drift.Limits { return o.Limits }
	if o.Limits == (drift.Limits{}) {
		limits = func() drift.Limits { return drift.DefaultLimits(o.AuditInterval.Get()) }
	}
	recorder, err := newRecorder(ctx, mgr)
	if err != nil {
		return err
	}
	if err := cacheindex.Add(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	nat := &podnatconfiguration.Reconciler{
		Client:   mgr.GetClient(),
		Reader:   mgr.GetAPIReader(),
		Recorder: recorder,
		Jobs:     o.Jobs,
		Limits:   limits,
		Now:      o.Now,
	}
	if err := nat.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	auditor := &audit.Reconciler{Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Jobs: o.Jobs, Interval: o.AuditInterval, Now: o.Now}
	if err := auditor.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	tracer := &connectiontrace.Reconciler{Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Jobs: o.Jobs, Now: o.Now}
	if err := tracer.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	if o.Unpauser == nil {
		if o.Unpauser, err = meshedvirtualmachine.NewUnpauser(mgr.GetConfig()); err != nil {
			return err
		}
	}
	mvm := &meshedvirtualmachine.Reconciler{
		Client:        mgr.GetClient(),
		Reader:        mgr.GetAPIReader(),
		Applier:       apply.Applier{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()},
		Recorder:      recorder,
		StartGate:     o.StartGate,
		Unpauser:      o.Unpauser,
		ClusterDomain: o.ClusterDomain,
		RootNamespace: o.MeshRootNamespace,
		Cluster:       o.Cluster(mgr.GetClient()),
		Now:           o.Now,
	}
	if err := mvm.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	return registerReadiness(mgr)
}

// wallClock removes the monotonic clock readings from the times that a clock returns.
// Reconcilers compare these times with stored times and with times that they computed
// before. Two times of which only one has a monotonic clock reading can be equal on the
// wall clock but not compare as equal, and two readings differ by nanoseconds (package
// time, Monotonic Clocks).
func wallClock(now func() time.Time) func() time.Time {
	return func() time.Time { return now().Round(0) }
}

// CacheOptions limits the cache to the objects that the controllers read:
// virt-launcher pods in all namespaces, and rule-writer Jobs and their pods in
// the operator's namespace.
func CacheOptions(operatorNamespace string) cache.Options {
	launchers := labels.SelectorFromSet(launcherpod.Labels())
	writers := labels.SelectorFromSet(rulejob.Labels())
	return cache.Options{
		DefaultTransform: trim,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Namespaces: map[string]cache.Config{
				cache.AllNamespaces: {LabelSelector: launchers},
				operatorNamespace:   {LabelSelector: writers},
			}},
			&batchv1.Job{}: {Namespaces: map[string]cache.Config{
				operatorNamespace: {LabelSelector: writers},
			}},
			&corev1.Node{}: {Transform: trimNode},
		},
	}
}

// ClientOptions makes the client also read unstructured objects from the cache,
// because the children are handled as unstructured objects.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{Unstructured: true}}
}

// trimNode drops the fields of a node that no controller reads.
func trimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return nil, fmt.Errorf("cannot trim a %T as a Node", o)
	}
	return &corev1.Node{
		TypeMeta:   n.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status: corev1.NodeStatus{
			Conditions: n.Status.Conditions,
			NodeInfo:   corev1.NodeSystemInfo{BootID: n.Status.NodeInfo.BootID},
		},
	}, nil
}
