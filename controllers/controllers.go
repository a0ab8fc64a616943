// SPDX-License-Identifier: Apache-2.0

// Package controllers is the table of contents of the operator's controllers:
// which there are, what they read from the cache, and how they are wired.
package controllers

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers/audit"
	"meshvm.io/meshvm/controllers/meshedvirtualmachine"
	"meshvm.io/meshvm/controllers/podnatconfiguration"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// Options are what an installation decides.
type Options struct {
	// Jobs is about rule-writer Jobs.
	Jobs rulejob.Config
	// Workers is how many objects of a kind are reconciled at a time.
	Workers int
	// AuditInterval is how often each node's rules are read back; nil means
	// never.
	AuditInterval *audit.Interval
	// Limits end a fight with somebody else who writes rules; those of
	// drift.DefaultLimits if zero.
	Limits drift.Limits
	// StartGate is how guests are held back until their rules were verified.
	StartGate children.StartGate
	// Unpauser lets guests run that were started paused; that of KubeVirt's API
	// if nil.
	Unpauser meshedvirtualmachine.Unpauser
	// Now is the clock.
	Now func() time.Time
}

// Setup registers all controllers with the manager.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	if o.AuditInterval == nil {
		o.AuditInterval = audit.Every(0)
	}
	limits := func() drift.Limits { return o.Limits }
	if o.Limits == (drift.Limits{}) {
		limits = func() drift.Limits { return drift.DefaultLimits(o.AuditInterval.Get()) }
	}
	nat := &podnatconfiguration.Reconciler{
		Client:   mgr.GetClient(),
		Recorder: mgr.GetEventRecorder("meshvm"),
		Jobs:     o.Jobs,
		Limits:   limits,
		Now:      o.Now,
	}
	if err := nat.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	auditor := &audit.Reconciler{Client: mgr.GetClient(), Jobs: o.Jobs, Interval: o.AuditInterval, Now: o.Now}
	if err := auditor.SetupWithManager(ctx, mgr, o.Workers); err != nil {
		return err
	}
	if o.Unpauser == nil {
		var err error
		if o.Unpauser, err = meshedvirtualmachine.NewUnpauser(mgr.GetConfig()); err != nil {
			return err
		}
	}
	mvm := &meshedvirtualmachine.Reconciler{
		Client:    mgr.GetClient(),
		Applier:   apply.Applier{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()},
		Recorder:  mgr.GetEventRecorder("meshvm"),
		StartGate: o.StartGate,
		Unpauser:  o.Unpauser,
	}
	if err := mvm.SetupWithManager(mgr, o.Workers); err != nil {
		return err
	}
	return registerReadiness(mgr)
}

// CacheOptions keeps the cache to what the controllers read: virt-launcher pods
// everywhere, rule-writer Jobs and their pods in the operator's namespace.
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

// ClientOptions makes the client read unstructured objects from the cache too:
// the children are handled as such.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{Unstructured: true}}
}

// trim drops what no controller reads: managed fields, and everything but the
// metadata of objects that belong to others. Those matter only because they may
// stand in the way.
func trim(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok && u.GetLabels()[v1alpha1.LabelManagedBy] != v1alpha1.ManagedByValue {
		unstructured.RemoveNestedField(u.Object, "spec")
		unstructured.RemoveNestedField(u.Object, "status")
	}
	return cache.TransformStripManagedFields()(o)
}

// trimNode keeps of a node what the controllers read.
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
