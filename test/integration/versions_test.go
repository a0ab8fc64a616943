// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// istio reads the DestinationRule and the VirtualService of a guest.
func (s *suite) istio(name string) (*networkingv1.DestinationRule, *networkingv1.VirtualService) {
	s.Helper()
	dr, vs := &networkingv1.DestinationRule{}, &networkingv1.VirtualService{}
	for _, o := range []client.Object{dr, vs} {
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o); err != nil {
			s.Fatal(err)
		}
	}
	return dr, vs
}

// awaitVersions waits until a guest has exactly the subsets, and its routes select
// routed, or all pods if it is empty.
func (s *suite) awaitVersions(name, routed string, subsets ...string) {
	s.Helper()
	s.eventually(fmt.Sprintf("the subsets are %q and the routes select %q", subsets, routed), func() error {
		dr, vs := s.istio(name)
		var got []string
		for _, subset := range dr.Spec.Subsets {
			got = append(got, subset.Name)
		}
		if to := vs.Spec.Http[0].Route[0].Destination.Subset; to != routed || !slices.Equal(got, subsets) {
			return fmt.Errorf("the subsets are %q and the routes select %q", got, to)
		}
		return nil
	})
}

// upgradeToV2 changes the version and waits until the operator has applied it.
func (s *suite) upgradeToV2(name string) *v1alpha1.MeshedVirtualMachine {
	s.Helper()
	s.edit(name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Version = "v2" })
	return s.awaitMVM(name,
		want{v1alpha1.ConditionRestartRequired, yes, v1alpha1.ReasonRestartRequired},
		want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
}

// TestVersionOfRunningGuest changes the version of a running guest. Subsets and routes
// select the running pod until the guest is restarted.
func TestVersionOfRunningGuest(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.awaitVersions(o.Name, "v1", "v1")
	dr, vs := s.istio(o.Name)
	got := s.upgradeToV2(o.Name)
	message := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionRestartRequired)).Message
	for _, part := range []string{pod.Name + " has version v1", "version v2 takes effect at the next start of the guest"} {
		if !strings.Contains(message, part) {
			t.Errorf("the message does not contain %q: %s", part, message)
		}
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	// The conditions are of the edited spec, which is therefore applied.
	if newDR, newVS := s.istio(o.Name); newDR.Generation != dr.Generation || newVS.Generation != vs.Generation {
		t.Errorf("the edit changed the DestinationRule or the VirtualService: %v, %v", newDR.Spec.Subsets, newVS.Spec.Http)
	}

	s.stopGuest(o.Name, pod)
	s.awaitVersions(o.Name, "v2", "v2")
	_, next := s.startGuest(o.Name, "node-a")
	s.runWriter(s.awaitNAT(next).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitVersions(o.Name, "v2", "v2")
	s.eventually("no restart is required", func() error {
		if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionRestartRequired)); c != nil {
			return fmt.Errorf("%s", c.Message)
		}
		return nil
	})
}

// TestVersionsOfTwoPods starts a pod of the new version while the pod of the previous
// version exists, as after an edit of the label of the VirtualMachineInstance and a live
// migration. Both have a subset, and the routes select both.
func TestVersionsOfTwoPods(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.upgradeToV2(o.Name)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	s.node("node-b", corev1.ConditionTrue)
	same := s.launcher(vmi, "node-b")
	s.awaitNAT(same) // The operator knows the pod.
	s.awaitVersions(o.Name, "v1", "v1")
	s.end(same)

	vmi.Labels[v1alpha1.LabelVersion] = "v2"
	next := s.launcher(vmi, "node-b")
	s.awaitVersions(o.Name, "", "v1", "v2")
	// It terminates, and its containers still run.
	s.podIs(pod, func(st *corev1.PodStatus) { st.Conditions[len(st.Conditions)-1].Status = corev1.ConditionFalse })
	s.awaitNAT(next)
	s.awaitVersions(o.Name, "", "v1", "v2")
	s.end(pod)
	s.awaitVersions(o.Name, "v2", "v2")
}

// TestVersionLabelOfPod removes and changes the label of the running pod, as a user with
// the role "edit" may. The routes still lead to the pod.
func TestVersionLabelOfPod(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	for _, tc := range []struct{ label, routed, subset string }{{"", "", "v1"}, {"V_1", "", "v1"}, {"canary", "canary", "canary"}} {
		s.relabel(pod, func(l map[string]string) {
			if l[v1alpha1.LabelVersion] = tc.label; tc.label == "" {
				delete(l, v1alpha1.LabelVersion)
			}
		})
		s.awaitVersions(o.Name, tc.routed, tc.subset)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged})
	}
	s.relabel(pod, func(l map[string]string) { l[v1alpha1.LabelVersion] = "v1" })
	s.awaitVersions(o.Name, "v1", "v1")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

// TestVersionOfHiddenPod changes the version while the cache does not contain the pod.
func TestVersionOfHiddenPod(t *testing.T) {
	s := start(t)
	o, _, _ := s.hidePod()
	s.upgradeToV2(o.Name)
	s.awaitVersions(o.Name, "v1", "v1")
}

// TestVersionOfRejectedSpec restarts a guest with another version while the spec is not
// accepted. Subsets and routes follow the pod, and nothing else changes.
func TestVersionOfRejectedSpec(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Ports[0].Timeout = "5s"
	pod := s.converge(o)
	s.upgradeToV2(o.Name)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].Timeout = "7s"
		spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	s.awaitVersions(o.Name, "v1", "v1")
	s.stopGuest(o.Name, pod)
	_, next := s.startGuest(o.Name, "node-a")
	s.awaitVersions(o.Name, "v2", "v2")
	if _, vs := s.istio(o.Name); vs.Spec.Http[0].Timeout.AsDuration().Seconds() != 5 {
		t.Errorf("the route has the timeout %s of the rejected spec", vs.Spec.Http[0].Timeout.AsDuration())
	}

	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.VirtualMachine.Template.ObjectMeta.Labels = nil })
	s.runWriter(s.awaitNAT(next).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitVersions(o.Name, "v2", "v2")
}
