// SPDX-License-Identifier: Apache-2.0

// Package cacheindex contains the indexes of the manager's cache. A list by label or
// without an index reads every object of the namespace, so its cost would grow with
// the number of objects of other owners.
package cacheindex

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/meshroutes"
)

const (
	// Node is the index of PodNATConfigurations by the node on which their rules are
	// programmed.
	Node = "status.applied.node"
	// Owner is the index of PodNATConfigurations by children.Owners.
	Owner = "owner"
	// Pod is the index of PodNATConfigurations by the UID of their pod.
	Pod = "spec.pod.uid"
	// Service is the index of MeshedVirtualMachines by the name of their Service.
	Service = "service"
	// Gateway is the index of MeshedVirtualMachines by the Gateways that they name, as
	// NAMESPACE/NAME.
	Gateway = "gateway"
	// VirtualMachine is the index of MeshedVirtualMachines by the name of their
	// VirtualMachine.
	VirtualMachine = "virtualMachine"
	// Unfinished is the index of PodNATConfigurations that may wait for a node. Its
	// only key is True.
	Unfinished = "unfinished"
	// True is the key of objects in an index with one key.
	True = "true"
)

// labels are the labels by which the controllers list the kinds that Kubernetes and
// this project define.
var labels = []struct {
	object client.Object
	keys   []string
}{
	{Object(children.ServiceKind), []string{v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService}},
	{Object(children.PodNATConfigurationKind), []string{v1alpha1.LabelMeshedVirtualMachine}},
	{&v1alpha1.PodNATConfiguration{}, []string{v1alpha1.LabelMeshedVirtualMachine}},
	{&corev1.Pod{}, []string{v1alpha1.LabelMeshedVirtualMachine, kubevirtv1.CreatedByLabel, v1alpha1.LabelPodNATConfiguration, v1alpha1.LabelAuditNode, v1alpha1.LabelTracedPod, v1alpha1.LabelTraceNamespace}},
	{&batchv1.Job{}, []string{v1alpha1.LabelPodNATConfiguration, v1alpha1.LabelAuditNode, v1alpha1.LabelTracedPod, v1alpha1.LabelTraceNamespace}},
}

// Add adds the indexes of the kinds that every cluster serves.
func Add(ctx context.Context, indexer client.FieldIndexer) error {
	var errs []error
	for _, l := range labels {
		for _, key := range l.keys {
			errs = append(errs, AddLabel(ctx, indexer, l.object, key))
		}
	}
	nat := &v1alpha1.PodNATConfiguration{}
	errs = append(errs, add(ctx, indexer, nat, Node, appliedNode), add(ctx, indexer, nat, Owner, owners), add(ctx, indexer, nat, Pod, podUID), add(ctx, indexer, nat, Unfinished, unfinished))
	mvm := &v1alpha1.MeshedVirtualMachine{}
	errs = append(errs, add(ctx, indexer, mvm, Service, serviceName), add(ctx, indexer, mvm, VirtualMachine, virtualMachineName), add(ctx, indexer, mvm, Gateway, gatewayNames))
	return errors.Join(errs...)
}

// AddLabel adds an index of a kind by a label.
func AddLabel(ctx context.Context, indexer client.FieldIndexer, o client.Object, key string) error {
	return add(ctx, indexer, o, field(key), func(o client.Object) []string {
		if value := o.GetLabels()[key]; value != "" {
			return []string{value}
		}
		return nil
	})
}

func add(ctx context.Context, indexer client.FieldIndexer, o client.Object, name string, values client.IndexerFunc) error {
	if err := indexer.IndexField(ctx, o, name, values); err != nil {
		return fmt.Errorf("index %T by %s: %w", o, name, err)
	}
	return nil
}

// Labels selects the objects with the labels by their indexes. It selects the same
// objects as client.MatchingLabels.
func Labels(labels map[string]string) client.MatchingFields {
	out := client.MatchingFields{}
	for key, value := range labels {
		out[field(key)] = value
	}
	return out
}

func field(label string) string { return "metadata.labels." + label }

// Object returns an empty unstructured object of a kind.
func Object(kind schema.GroupVersionKind) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	return o
}

func serviceName(o client.Object) []string {
	if mvm, ok := o.(*v1alpha1.MeshedVirtualMachine); ok {
		return []string{mvm.ServiceName()}
	}
	return nil
}

func virtualMachineName(o client.Object) []string {
	if mvm, ok := o.(*v1alpha1.MeshedVirtualMachine); ok {
		return []string{mvm.VirtualMachineName()}
	}
	return nil
}

func gatewayNames(o client.Object) []string {
	if mvm, ok := o.(*v1alpha1.MeshedVirtualMachine); ok {
		return meshroutes.Gateways(mvm)
	}
	return nil
}

func owners(o client.Object) []string { return children.Owners(o) }

func podUID(o client.Object) []string {
	if c, ok := o.(*v1alpha1.PodNATConfiguration); ok && c.Spec.Pod.UID != "" {
		return []string{string(c.Spec.Pod.UID)}
	}
	return nil
}

func appliedNode(o client.Object) []string {
	if c, ok := o.(*v1alpha1.PodNATConfiguration); ok && c.Status.Applied.Node != "" {
		return []string{c.Status.Applied.Node}
	}
	return nil
}

func unfinished(o client.Object) []string {
	c, ok := o.(*v1alpha1.PodNATConfiguration)
	if !ok || c.DeletionTimestamp.IsZero() && conditions.IsTrue(c.Status.Conditions, v1alpha1.ConditionReady, c.Generation) {
		return nil
	}
	return []string{True}
}
