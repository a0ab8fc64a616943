// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/launcherpod"
)

// gatherGuest reads the guest, its PodNATConfigurations and its live pods. The pods are
// known only after every read has succeeded, because the status of a pod that was not
// read would be lost.
func (r *Reconciler) gatherGuest(ctx context.Context, s *scope) error {
	err := errors.Join(r.gather(ctx, s), r.gatherNATs(ctx, s), r.gatherHidden(ctx, s))
	s.podsKnown = err == nil
	return err
}

// gatherOwner decides whether the guest is foreign. Its VirtualMachine is read before
// the children are applied, so that the result is the same while the operator is paused
// and while the spec is not accepted.
func (r *Reconciler) gatherOwner(ctx context.Context, s *scope) error {
	if s.vmi == nil {
		return nil
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(children.VirtualMachineKind)
	switch err := r.Client.Get(ctx, vmObjectKey(s.mvm), u); {
	case apierrors.IsNotFound(err):
		u = nil
	case err != nil:
		return fmt.Errorf("read VirtualMachine: %w", err)
	}
	s.foreign = foreignGuest(s.mvm, u, s.vmi)
	return nil
}

// foreignGuest reports whether the VirtualMachineInstance of the VirtualMachine's name belongs
// to another owner. vm is the VirtualMachine of that name, nil when none exists.
// KubeVirt makes it the controller of an instance that has none.
func foreignGuest(mvm *v1alpha1.MeshedVirtualMachine, vm *unstructured.Unstructured, vmi *kubevirtv1.VirtualMachineInstance) bool {
	ref := metav1.GetControllerOf(vmi)
	if vm == nil {
		return ref != nil
	}
	if mvm.Spec.Adopts() {
		return ref != nil && ref.UID != vm.GetUID()
	}
	return apply.IsForeign(vm, mvm) || ref != nil && ref.UID != vm.GetUID()
}

// gatherPods reads the live virt-launcher pods of the guest, oldest first. They are
// found by KubeVirt's label with the UID of the VirtualMachineInstance and by their
// owner reference. The operator's own labels are not needed: users with the role
// "edit" can remove them from a pod. The pods of a foreign guest get no rules.
func (r *Reconciler) gatherPods(ctx context.Context, s *scope) error {
	if s.vmi == nil || s.foreign {
		return nil
	}
	var pods corev1.PodList
	created := cacheindex.Labels(map[string]string{kubevirtv1.CreatedByLabel: string(s.vmi.UID)})
	if err := r.Client.List(ctx, &pods, client.InNamespace(s.mvm.Namespace), created); err != nil {
		return fmt.Errorf("list launcher pods: %w", err)
	}
	for _, p := range pods.Items {
		s.addPod(p, false)
	}
	return nil
}

// gatherHidden adds the pods of PodNATConfigurations and of the status that gatherPods did
// not find, because a user has removed the labels by which KubeVirt and the operator's
// cache select virt-launcher pods, or because the guest has become foreign. So the rules
// of a pod are never pruned while the pod runs, and a PodNATConfiguration that a user has
// deleted is created again.
func (r *Reconciler) gatherHidden(ctx context.Context, s *scope) error {
	if s.vmi == nil {
		return nil
	}
	for target, programmed := range s.knownPods() {
		if slices.ContainsFunc(s.pods, func(p corev1.Pod) bool { return p.UID == target.UID }) {
			continue
		}
		key := client.ObjectKey{Namespace: s.mvm.Namespace, Name: target.Name}
		pod, _, err := hiddenpod.Find(ctx, r.Client, r.Reader, key, target.UID)
		if err != nil {
			return err
		}
		if pod != nil {
			s.addPod(*pod, programmed)
		}
	}
	if s.foreign && len(s.pods) == 0 {
		s.vmi = nil
	}
	return nil
}

// knownPods returns the pods in the status, unless the guest is foreign, and the pods that
// have a PodNATConfiguration of the object, which are programmed.
func (s *scope) knownPods() map[v1alpha1.PodTarget]bool {
	programmed := map[v1alpha1.PodTarget]bool{}
	if !s.foreign {
		for _, p := range s.mvm.Status.Pods {
			programmed[v1alpha1.PodTarget{Name: p.Name, UID: p.UID}] = false
		}
	}
	for _, c := range s.nats {
		if metav1.IsControlledBy(&c, s.mvm) {
			programmed[c.Spec.Pod] = true
		}
	}
	return programmed
}

// addPod adds a live pod that the guest's VirtualMachineInstance controls. A programmed pod
// whose owner reference a user has removed keeps its rules.
func (s *scope) addPod(p corev1.Pod, programmed bool) {
	ref := metav1.GetControllerOf(&p)
	controlled := ref == nil && programmed || ref != nil && ref.UID == s.vmi.UID
	if !controlled || launcherpod.Ended(&p) || launcherpod.IsTemporary(&p) {
		return
	}
	s.pods = append(s.pods, p)
	slices.SortFunc(s.pods, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// changedLabels returns the missing labels of the pod as arguments of "kubectl
// label". KubeVirt, the Service and the mesh policy select the pod by them.
func (s *scope) changedLabels(p *corev1.Pod) []string {
	want := launcherpod.Labels()
	maps.Copy(want, children.GuestLabels(s.mvm))
	if s.vmi != nil {
		want[kubevirtv1.CreatedByLabel] = string(s.vmi.UID)
		// The labels of a pod are those of the guest's template at its start.
		for _, key := range []string{v1alpha1.LabelService, v1alpha1.LabelVersion} {
			if value := s.vmi.Labels[key]; value != "" {
				want[key] = value
			}
		}
	}
	var out []string
	for key, value := range want {
		if p.Labels[key] != value {
			out = append(out, key+"="+value)
		}
	}
	slices.Sort(out)
	return out
}

// labelsMessage returns the missing labels of a live pod and how to restore them, or an
// empty string if no label is missing. The operator does not write pods. A guest that
// started before the MeshedVirtualMachine controlled its VirtualMachine, for example, does
// not have the operator's labels itself. Its pods, also those of later migrations, lack them and
// everything that is added to a pod at its creation: the start gate and the sidecar.
func (s *scope) labelsMessage() string {
	for i := range s.pods {
		p := &s.pods[i]
		labels := s.changedLabels(p)
		if len(labels) == 0 {
			continue
		}
		list := strings.Join(labels, " ")
		message := fmt.Sprintf("pod %s does not have labels by which KubeVirt, the Service and the mesh policy select it: %s; ", p.Name, list)
		if s.vmi != nil && !s.mvm.Spec.Adopts() && s.vmi.Labels[v1alpha1.LabelMeshedVirtualMachine] != s.mvm.Name {
			return message + fmt.Sprintf("its VirtualMachineInstance does not have the label %s=%s either, so new pods of the guest lack it too: restart the guest",
				v1alpha1.LabelMeshedVirtualMachine, s.mvm.Name)
		}
		return message + fmt.Sprintf("restore them with: kubectl -n %s label --overwrite pod %s %s", p.Namespace, p.Name, list)
	}
	return ""
}
