// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/conditions"
)

// maxStrays is the number of strays that a condition names.
const maxStrays = 5

// vmiChanged maps a VirtualMachineInstance to the MeshedVirtualMachines of its
// VirtualMachine, and to the one that its label names.
func (r *Reconciler) vmiChanged(ctx context.Context, o client.Object) []reconcile.Request {
	requests := r.withPeers(ctx, r.vmChanged(ctx, o))
	labeled := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelMeshedVirtualMachine]}}
	if labeled.Name != "" && !slices.Contains(requests, labeled) {
		requests = append(requests, labeled)
	}
	return requests
}

// gatherStrays finds VirtualMachineInstances that have the label of the
// MeshedVirtualMachine but are not its guest. A clone, a restore to another
// VirtualMachine and an import copy the labels of the template.
func (r *Reconciler) gatherStrays(ctx context.Context, s *scope) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(vmiKind.GroupVersion().WithKind(vmiKind.Kind + "List"))
	if err := r.Client.List(ctx, list, client.InNamespace(s.mvm.Namespace), s.labeled()); err != nil {
		return fmt.Errorf("list VirtualMachineInstances: %w", err)
	}
	s.strays = make([]*unstructured.Unstructured, 0, len(list.Items))
	for i := range list.Items {
		if vmi := &list.Items[i]; vmi.GetName() != s.mvm.VirtualMachineName() && vmi.GetDeletionTimestamp().IsZero() {
			s.strays = append(s.strays, vmi)
		}
	}
	slices.SortFunc(s.strays, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return nil
}

// gatherSelectedStrays determines whether the Service selects a pod of a stray. The selector
// of a Service with several members does not contain the name of an instance, and the
// webhook removes the label of the Service only from pods that request a start gate.
func (r *Reconciler) gatherSelectedStrays(ctx context.Context, s *scope) error {
	if !s.shares() || !s.service.SelectsAll() {
		return nil
	}
	for _, vmi := range s.strays {
		var pods corev1.PodList
		created := cacheindex.Labels(map[string]string{kubevirtv1.CreatedByLabel: string(vmi.GetUID())})
		if err := r.Client.List(ctx, &pods, client.InNamespace(s.mvm.Namespace), created, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list pods of VirtualMachineInstance %s: %w", vmi.GetName(), err)
		}
		s.selectedStrays = s.selectedStrays || slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.Labels[v1alpha1.LabelService] == s.service.Name })
	}
	return nil
}

// strayGuests returns the condition about strays, and whether any exist.
func (s *scope) strayGuests() (conditions.Condition, bool) {
	selected := "they are not in its Service and get no rules"
	if s.selectedStrays {
		selected = "the shared Service selects at least one of them, so it receives traffic without rules"
	}
	message := "VirtualMachineInstances that this MeshedVirtualMachine does not control have its label, for example clones: " + conditions.Enumerate(s.strays, maxStrays, ", ", strayName) +
		"; " + selected + "; remove the labels meshvm.io/*, and " + v1alpha1.LabelManagedBy +
		" if its value is meshvm, from their VirtualMachines and templates and restart them, or create a MeshedVirtualMachine for each"
	return conditions.True(v1alpha1.ConditionStrayGuests, v1alpha1.ReasonCopiedLabels, message), len(s.strays) > 0
}

func strayName(vmi *unstructured.Unstructured) string { return fmt.Sprintf("%q", vmi.GetName()) }

// recordStrays emits an event on each stray that the condition names for the first
// time. Call it after the status has been written.
func (r *Reconciler) recordStrays(s *scope) {
	before := ""
	if c := meta.FindStatusCondition(s.before.Status.Conditions, string(v1alpha1.ConditionStrayGuests)); c != nil {
		before = c.Message
	}
	for _, vmi := range s.strays[:min(len(s.strays), maxStrays)] {
		if strings.Contains(before, strayName(vmi)) {
			continue
		}
		r.Recorder.Eventf(vmi, s.mvm, corev1.EventTypeWarning, string(v1alpha1.ReasonCopiedLabels), string(v1alpha1.ConditionStrayGuests),
			"the label %s names MeshedVirtualMachine %s, which does not control this guest: it gets no rules, and it does not start if its pod has a start gate or it starts paused; remove the labels meshvm.io/* from the template of its VirtualMachine and restart it, or create a MeshedVirtualMachine for it",
			v1alpha1.LabelMeshedVirtualMachine, s.mvm.Name)
	}
}
