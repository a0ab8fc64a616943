// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// observed are the objects of a machine, as far as the user may read them.
type observed struct {
	mvm       *v1alpha1.MeshedVirtualMachine
	vm        *kubevirtv1.VirtualMachine
	vmi       *kubevirtv1.VirtualMachineInstance
	pods      []corev1.Pod
	nats      []v1alpha1.PodNATConfiguration
	service   *corev1.Service
	endpoints []discoveryv1.EndpointSlice
	// related contains a state of each object of status.relatedObjects.
	related map[v1alpha1.RelatedObject]presence
	// unreadable are the kinds that the user may not read.
	unreadable []string
}

// presence is the result of reading an object.
type presence string

const (
	present  presence = "present"
	missing  presence = "missing"
	unknown  presence = "not read"
	deleting presence = "being deleted"
)

// gatherer reads the objects of a machine. It continues if the user may not read a kind:
// the role "view" does not contain the kinds of KubeVirt and Istio in every cluster.
type gatherer struct {
	client.Reader
	observed
}

func gather(ctx context.Context, c client.Reader, mvm *v1alpha1.MeshedVirtualMachine) (observed, error) {
	g := &gatherer{Reader: c, observed: observed{mvm: mvm, related: map[v1alpha1.RelatedObject]presence{}}}
	for _, read := range []func(context.Context) error{g.readGuest, g.readPods, g.readService, g.readRelated} {
		if err := read(ctx); err != nil {
			return observed{}, err
		}
	}
	slices.Sort(g.unreadable)
	g.unreadable = slices.Compact(g.unreadable)
	return g.observed, nil
}

func (g *gatherer) readGuest(ctx context.Context) error {
	vm, vmi := &kubevirtv1.VirtualMachine{}, &kubevirtv1.VirtualMachineInstance{}
	state, err := g.read(ctx, "VirtualMachine", g.mvm.VirtualMachineName(), vm)
	if err != nil {
		return err
	}
	if found(state) {
		g.vm = vm
	}
	if state, err = g.read(ctx, "VirtualMachineInstance", g.mvm.VirtualMachineName(), vmi); err != nil {
		return err
	}
	if found(state) {
		g.vmi = vmi
	}
	return nil
}

func (g *gatherer) readPods(ctx context.Context) error {
	for _, p := range g.mvm.Status.Pods {
		pod := &corev1.Pod{}
		state, err := g.read(ctx, "Pod", p.Name, pod)
		if err != nil {
			return err
		}
		if found(state) && pod.UID == p.UID {
			g.pods = append(g.pods, *pod)
		}
	}
	var nats v1alpha1.PodNATConfigurationList
	if err := g.list(ctx, "PodNATConfiguration", &nats); err != nil {
		return err
	}
	for _, n := range nats.Items {
		if metav1.IsControlledBy(&n, g.mvm) {
			g.nats = append(g.nats, n)
		}
	}
	return nil
}

func (g *gatherer) readService(ctx context.Context) error {
	if len(g.mvm.Spec.Ports) == 0 {
		return nil
	}
	service := &corev1.Service{}
	state, err := g.read(ctx, "Service", g.mvm.ServiceName(), service)
	if err != nil {
		return err
	}
	if found(state) {
		g.service = service
	}
	var slices discoveryv1.EndpointSliceList
	if err := g.list(ctx, "EndpointSlice", &slices, client.MatchingLabels{discoveryv1.LabelServiceName: g.mvm.ServiceName()}); err != nil {
		return err
	}
	g.endpoints = slices.Items
	return nil
}

// readRelated reads the metadata of the objects in the status.
func (g *gatherer) readRelated(ctx context.Context) error {
	for _, r := range g.mvm.Status.RelatedObjects {
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(schema.FromAPIVersionAndKind(r.APIVersion, r.Kind))
		state, err := g.read(ctx, r.Kind, r.Name, o)
		if err != nil {
			return err
		}
		g.related[r] = state
	}
	return nil
}

// read reads an object of the namespace of the machine.
func (g *gatherer) read(ctx context.Context, kind, name string, o client.Object) (presence, error) {
	err := g.Get(ctx, client.ObjectKey{Namespace: g.mvm.Namespace, Name: name}, o)
	switch {
	case err == nil && o.GetDeletionTimestamp() != nil:
		return deleting, nil
	case err == nil:
		return present, nil
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return missing, nil
	case apierrors.IsForbidden(err):
		g.unreadable = append(g.unreadable, kind)
		return unknown, nil
	}
	return "", fmt.Errorf("read %s %s: %w", kind, name, err)
}

func (g *gatherer) list(ctx context.Context, kind string, list client.ObjectList, options ...client.ListOption) error {
	err := g.List(ctx, list, append(options, client.InNamespace(g.mvm.Namespace))...)
	if apierrors.IsForbidden(err) {
		g.unreadable = append(g.unreadable, kind)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", kind, err)
	}
	return nil
}

// found reports whether an object was read.
func found(p presence) bool { return p == present || p == deleting }
