// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"

	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestOrphanOfHiddenPod deletes a MeshedVirtualMachine without its children. A user has
// removed the label by which the operator's cache selects the pod. The
// PodNATConfiguration of the running pod stays.
func TestOrphanOfHiddenPod(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	s.relabel(pod, func(l map[string]string) { delete(l, kubevirtv1.AppLabel) })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged})
	s.orphan(o)
	s.eventually("the PodNATConfiguration has no controller", func() error {
		if refs := s.onlyNAT().OwnerReferences; len(refs) > 0 {
			return fmt.Errorf("it has the owners %v", refs)
		}
		return nil
	})
	s.restart() // The operator examines every object.
	s.quiet()
	if live := s.onlyNAT(); live.UID != nat.UID || !live.DeletionTimestamp.IsZero() {
		t.Error("the PodNATConfiguration of a running pod was deleted")
	}
	// A pod that does not exist any more has no leftover.
	s.end(pod)
	s.restart()
	s.eventually("the PodNATConfiguration is deleted", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(nat), &v1alpha1.PodNATConfiguration{}))
	})
}
