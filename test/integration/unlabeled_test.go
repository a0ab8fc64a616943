// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestConfigurationWithoutLabel removes the label of a PodNATConfiguration while the
// operator is paused for the guest. It still belongs to the guest, so its status counts.
func TestConfigurationWithoutLabel(t *testing.T) {
	s := start(t)
	s.converge(s.web())
	s.annotate(s.mvm("web"), v1alpha1.AnnotationPaused, "true")
	s.awaitMVM("web", want{v1alpha1.ConditionPaused, yes, v1alpha1.ReasonPaused})
	nat := s.onlyNAT()
	before := nat.DeepCopy()
	delete(nat.Labels, v1alpha1.LabelMeshedVirtualMachine)
	if err := s.Patch(s.Context(), nat, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web", want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonOutOfDate})
	programmed := func(want metav1.ConditionStatus) {
		t.Helper()
		s.eventually("the status of the pod is "+string(want), func() error {
			if pods := s.mvm("web").Status.Pods; len(pods) != 1 || pods[0].Programmed != want {
				return fmt.Errorf("pods are %v", pods)
			}
			return nil
		})
	}
	programmed(yes)
	// A change of its status, which no other object shows, leads to the guest.
	s.boot("node-a", "second-boot")
	programmed(no)
	s.annotate(s.mvm("web"), v1alpha1.AnnotationPaused, "")
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM("web", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if s.onlyNAT().Labels[v1alpha1.LabelMeshedVirtualMachine] != "web" {
		t.Error("the label is not restored")
	}
}
