// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"
	"sort"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
)

// scope holds everything that one reconcile knows. The steps fill it in the
// order of its fields; the status reads nothing else.
type scope struct {
	// mvm is the object as it will be written; before as it was read.
	mvm, before *v1alpha1.MeshedVirtualMachine

	// gate is how the operator holds back guests.
	gate children.StartGate
	// paused is set when somebody asked the operator to keep still.
	paused bool
	// held is set while the VirtualMachine waits for what it needs.
	held bool
	// dependenciesKnown is set once it is known which kinds are served.
	dependenciesKnown bool
	// missing is the first kind of another project that is not served; soon
	// says that it may be in a moment.
	missing *dependency
	soon    bool
	// invalid is why the spec was refused.
	invalid *natplan.Invalid

	// vmi is the running guest, nil when there is none.
	vmi *kubevirtv1.VirtualMachineInstance
	// pods are the launcher pods that may carry traffic, oldest first, once
	// podsKnown is set.
	pods      []corev1.Pod
	podsKnown bool
	// nats are the PodNATConfigurations by pod UID.
	nats map[types.UID]v1alpha1.PodNATConfiguration

	// released is the pod whose guest this reconcile let run.
	released types.UID
	// notReleased is why it could not let a guest run whose rules are there.
	notReleased error

	// children are the objects as found or written, by what they are, and
	// failures the errors of those that are not as wanted.
	children map[apply.Key]*unstructured.Unstructured
	failures map[apply.Key]error
	// vm is the VirtualMachine as found or written, nil when there is none.
	vm *kubevirtv1.VirtualMachine
}

// gather reads what the wanted objects depend on.
func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(vmiKind)
	switch err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.mvm), u); {
	case err == nil:
		s.vmi = &kubevirtv1.VirtualMachineInstance{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s.vmi); err != nil {
			return fmt.Errorf("decode VirtualMachineInstance: %w", err)
		}
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read VirtualMachineInstance: %w", err)
	}
	if s.vmi == nil {
		s.podsKnown = true
		return nil
	}
	var pods corev1.PodList
	mine := client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name, kubevirtv1.CreatedByLabel: string(s.vmi.UID)}
	if err := r.Client.List(ctx, &pods, client.InNamespace(s.mvm.Namespace), mine); err != nil {
		return fmt.Errorf("list launcher pods: %w", err)
	}
	s.podsKnown = true
	for _, p := range pods.Items {
		if !launcherpod.Ended(&p) && !launcherpod.IsTemporary(&p) {
			s.pods = append(s.pods, p)
		}
	}
	sort.Slice(s.pods, func(i, j int) bool {
		a, b := &s.pods[i], &s.pods[j]
		if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
			return a.Name < b.Name
		}
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	})
	return nil
}

// gatherNATs reads what the PodNATConfiguration controller reported.
func (r *Reconciler) gatherNATs(ctx context.Context, s *scope) error {
	s.nats = map[types.UID]v1alpha1.PodNATConfiguration{}
	var list v1alpha1.PodNATConfigurationList
	mine := client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}
	if err := r.Client.List(ctx, &list, client.InNamespace(s.mvm.Namespace), mine); err != nil {
		return fmt.Errorf("list PodNATConfigurations: %w", err)
	}
	for _, c := range list.Items {
		s.nats[c.Spec.Pod.UID] = c
	}
	return nil
}

// lastRules is the configuration that tells which rules were asked for last by a
// spec that was carried out: that of a live pod, which follows each spec, or the
// newest of those whose pod is gone; nil if there is none.
func (s *scope) lastRules() *v1alpha1.PodNATConfiguration {
	var last *v1alpha1.PodNATConfiguration
	for uid := range s.nats {
		c := s.nats[uid]
		if metav1.IsControlledBy(&c, s.mvm) && (last == nil || s.lives(&c) && !s.lives(last) ||
			s.lives(&c) == s.lives(last) && last.CreationTimestamp.Before(&c.CreationTimestamp)) {
			last = &c
		}
	}
	return last
}

// lives says whether the pod of a configuration is there.
func (s *scope) lives(c *v1alpha1.PodNATConfiguration) bool {
	return slices.ContainsFunc(s.pods, func(p corev1.Pod) bool { return p.UID == c.Spec.Pod.UID })
}

// observe reads the children as they are, when it is not known what they should
// be.
func (r *Reconciler) observe(ctx context.Context, s *scope) error {
	s.children = map[apply.Key]*unstructured.Unstructured{}
	for _, kind := range children.Kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		mine := client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}
		if err := r.Client.List(ctx, list, client.InNamespace(s.mvm.Namespace), mine); err != nil {
			return fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; metav1.IsControlledBy(o, s.mvm) {
				s.children[apply.KeyOf(o)] = o
			}
		}
	}
	return nil
}

// gatherVM takes the VirtualMachine from among the children.
func (s *scope) gatherVM() error {
	u := s.children[apply.Key{Kind: children.VirtualMachineKind.GroupKind(), Name: s.mvm.Name}]
	if u == nil {
		return nil
	}
	s.vm = &kubevirtv1.VirtualMachine{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, s.vm); err != nil {
		return fmt.Errorf("decode VirtualMachine: %w", err)
	}
	return nil
}
