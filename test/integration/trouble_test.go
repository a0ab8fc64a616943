// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

func TestForeignObjectsAreUnchanged(t *testing.T) {
	s := start(t)
	for _, kind := range singletons {
		t.Run(kind.Kind, func(*testing.T) {
			o := s.web()
			o.Name = "c-" + strings.ToLower(kind.Kind)
			foreign := &unstructured.Unstructured{Object: map[string]any{}}
			foreign.SetGroupVersionKind(kind)
			foreign.SetNamespace(s.namespace)
			foreign.SetName(o.Name)
			switch kind.Kind {
			case "Service":
				foreign.Object["spec"] = map[string]any{"ports": []any{map[string]any{"port": int64(1)}}}
			case "VirtualMachine":
				foreign.Object["spec"] = map[string]any{"runStrategy": "Halted", "template": map[string]any{"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}}}}}
			case "DestinationRule":
				foreign.Object["spec"] = map[string]any{"host": "x"}
			case "VirtualService":
				foreign.Object["spec"] = map[string]any{"hosts": []any{"x"}}
			}
			if err := s.Create(s.Context(), foreign); err != nil {
				s.Fatal(err)
			}
			if err := s.Create(s.Context(), o); err != nil {
				s.Fatal(err)
			}
			got := s.awaitMVM(o.Name,
				want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict},
				want{v1alpha1.ConditionReady, no, v1alpha1.ReasonConflict},
				want{v1alpha1.ConditionStalled, yes, v1alpha1.ReasonConflict})
			c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionConflicted))
			if !strings.Contains(c.Message, kind.Kind+" "+s.namespace+"/"+o.Name) {
				s.Errorf("the message does not contain the object: %s", c.Message)
			}
			live, err := s.read(kind, o.Name)
			if err != nil {
				s.Fatal(err)
			}
			if live.GetResourceVersion() != foreign.GetResourceVersion() {
				s.Errorf("the foreign %s was changed: %s -> %s", kind.Kind, foreign.GetResourceVersion(), live.GetResourceVersion())
			}
			// It recovers automatically when the cause is removed.
			if err := s.Delete(s.Context(), foreign); err != nil {
				s.Fatal(err)
			}
			s.eventually("the operator's own "+kind.Kind+" exists", func() error {
				u, err := s.read(kind, o.Name)
				if err == nil && !metav1.IsControlledBy(u, o) {
					err = errors.New("it is not controlled by the MeshedVirtualMachine")
				}
				return err
			})
			s.eventually("Conflicted is removed", func() error {
				if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionConflicted)); c != nil {
					return errors.New(c.Message)
				}
				return nil
			})
			if err := s.Delete(s.Context(), o); err != nil {
				s.Fatal(err)
			}
		})
	}
}

func TestUpstreamKindsRemovedAndInstalled(t *testing.T) {
	env := testenv.Start(t, testenv.Options{Controllers: testenv.DefaultControllers})
	s := startOn(t, env)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionDependenciesAvailable, no, v1alpha1.ReasonIstioMissing},
		want{v1alpha1.ConditionStalled, yes, v1alpha1.ReasonIstioMissing},
		want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted},
		want{v1alpha1.ConditionServiceReady, unknown, v1alpha1.ReasonPending})
	if err := env.InstallIstio(s.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionDependenciesAvailable, no, v1alpha1.ReasonKubeVirtMissing})
	if err := env.InstallKubeVirt(s.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionDependenciesAvailable, yes, v1alpha1.ReasonAvailable}, want{v1alpha1.ConditionMeshPolicyApplied, yes, ""})
	if err := env.RemoveCRDs(context.Background(), "networking.istio.io"); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionDependenciesAvailable, no, v1alpha1.ReasonIstioMissing})
	if _, err := s.read(singletons[0], o.Name); err != nil {
		t.Errorf("the Service was deleted when Istio was removed: %v", err)
	}
	if err := env.InstallIstio(s.Context()); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
	for _, kind := range singletons {
		if _, err := s.read(kind, o.Name); err != nil {
			t.Errorf("after Istio was installed again: %v", err)
		}
	}
}

func TestRejectedSpecs(t *testing.T) {
	s := start(t)
	bridge := func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		t := &spec.VirtualMachine.Template.Spec
		t.Networks = []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()}
		t.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultBridgeNetworkInterface()}
	}
	masquerade := func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultMasqueradeNetworkInterface()}
	}
	o := s.web()
	s.converge(o)
	s.edit(o.Name, bridge)
	got := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonBridgeBinding},
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonBridgeBinding},
		want{v1alpha1.ConditionStalled, yes, v1alpha1.ReasonBridgeBinding})
	notes := func() (out []string) {
		var recorded eventsv1.EventList
		if err := s.List(s.Context(), &recorded, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		for _, e := range recorded.Items {
			if e.Reason == string(v1alpha1.ReasonBridgeBinding) {
				out = append(out, e.Note)
			}
		}
		return out
	}
	s.eventually("the rejection has an event", func() error {
		if len(notes()) == 0 {
			return errors.New("none")
		}
		return nil
	})
	s.quiet()
	if all := notes(); len(all) != 1 || !strings.HasPrefix(all[0], "Accepted is False: ") {
		t.Errorf("the rejection has %d events, want one: %q", len(all), all)
	}
	if m := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionAccepted)).Message; !strings.Contains(m, "spec.virtualMachine") || !strings.Contains(m, "masquerade") {
		t.Errorf("the message contains neither the field nor the resolution: %s", m)
	}
	for _, kind := range singletons {
		if _, err := s.read(kind, o.Name); err != nil {
			t.Errorf("a rejected edit deleted an object: %v", err)
		}
	}
	if len(got.Status.RelatedObjects) != 6 {
		t.Errorf("related objects are not reported: %v", got.Status.RelatedObjects)
	}
	s.edit(o.Name, masquerade)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted}, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestPaused(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	annotate := func(value string) {
		before := s.mvm(o.Name)
		after := before.DeepCopy()
		after.Annotations = map[string]string{v1alpha1.AnnotationPaused: value}
		if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	annotate("true")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPaused, yes, v1alpha1.ReasonPaused}, want{v1alpha1.ConditionReady, yes, ""})
	svc, err := s.read(singletons[0], o.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(s.Context(), svc); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonOutOfDate}, want{v1alpha1.ConditionReady, no, v1alpha1.ReasonOutOfDate})
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.MTLS.Mode = v1alpha1.MTLSModePermissive })
	edited := s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyApplied, no, v1alpha1.ReasonOutOfDate})
	if mode := edited.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		t.Errorf("the state after a rejected edit is %s", mode)
	}
	if _, err := s.read(singletons[0], o.Name); !apierrors.IsNotFound(err) {
		t.Errorf("a paused operator recreated the Service: %v", err)
	}
	annotate("false")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionServiceReady, yes, ""}, want{v1alpha1.ConditionReady, yes, ""})
}

func TestRuleWriterOutcomes(t *testing.T) {
	tests := map[string]struct {
		outcome ruleio.Outcome
		reason  v1alpha1.ConditionReason
		stalled bool
		// cure removes a cause that a retry cannot resolve.
		cure func(*suite)
	}{
		"write failed":       {ruleio.OutcomeFailed, v1alpha1.ReasonWriteFailed, false, nil},
		"read-back differs":  {ruleio.OutcomeMismatch, v1alpha1.ReasonReadBackMismatch, false, nil},
		"another namespace":  {ruleio.OutcomeIdentityMismatch, v1alpha1.ReasonIdentityMismatch, false, nil},
		"kernel without nat": {ruleio.OutcomeUnsupported, v1alpha1.ReasonKernelUnsupported, true, func(s *suite) { s.boot("node-a", "second-boot") }},
		"request rejected": {ruleio.OutcomeInvalid, v1alpha1.ReasonRequestRejected, true, func(s *suite) {
			s.restart(func(o *controllers.Options) { o.Jobs.Image = "localhost/meshvm/rule-writer:next" })
		}},
		"pod deleted from the node": {ruleio.OutcomeTargetGone, v1alpha1.ReasonTargetGone, false, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			o := s.web()
			if err := s.Create(s.Context(), o); err != nil {
				t.Fatal(err)
			}
			_, pod := s.startGuest(o.Name, "node-a")
			nat := s.awaitNAT(pod)
			s.runWriter(nat.UID, ruleio.OperationApply, tc.outcome)
			nat = s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, tc.reason})
			if nat.Status.Attempts != 1 || nat.Status.Applied.RequestDigest != "" {
				t.Errorf("after one failure: attempts %d, applied %+v", nat.Status.Attempts, nat.Status.Applied)
			}
			s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, ""}, want{v1alpha1.ConditionReady, no, ""})
			if tc.stalled {
				s.awaitMVM(o.Name, want{v1alpha1.ConditionStalled, yes, tc.reason})
				tc.cure(s)
			}
			// The Job is retried, and the retry succeeds.
			s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
			s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
			if n := s.awaitNAT(pod).Status.Attempts; n != 0 {
				t.Errorf("attempts are %d after a success, want 0", n)
			}
		})
	}
}

func TestNodeNotReady(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-down")
	s.node("node-down", corev1.ConditionFalse)
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionTargetResolved, no, v1alpha1.ReasonNodeNotReady})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNodeNotReady})
	s.node("node-down", corev1.ConditionTrue)
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	// The state of the rules on a node that is not ready is unknown.
	s.node("node-down", corev1.ConditionUnknown)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNodeNotReady})
	s.node("node-down", corev1.ConditionTrue)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestPodDeletedBeforeJobRuns(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmi, pod := s.startGuest(o.Name, "node-a")
	nat := s.awaitNAT(pod)
	s.writer(nat.UID, ruleio.OperationApply)
	if err := s.Delete(s.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNoPod})
	s.eventually("its PodNATConfiguration and Job are deleted", func() error {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), nat.DeepCopy()); !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the PodNATConfiguration exists"))
		}
		if n := len(s.jobs(nat.UID)); n > 0 {
			return fmt.Errorf("%d Jobs", n)
		}
		return nil
	})
	next := s.launcher(vmi, "node-a")
	s.runWriter(s.awaitNAT(next).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestRulesAreRemovedFromRunningPod(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	if err := s.Delete(s.Context(), nat.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	s.eventually("another PodNATConfiguration replaces it", func() error {
		if n := s.awaitNAT(pod); n.UID == nat.UID {
			return errors.New("the previous object still exists")
		}
		return nil
	})
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestDeletionWithoutNode(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-gone")
	nat := s.awaitNAT(pod)
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, ""})
	if err := s.Delete(s.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-gone"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.eventually("all objects are deleted", func() error {
		for _, kind := range append(singletons, v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine")) {
			if _, err := s.read(kind, o.Name); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s exists (%w)", kind.Kind, err)
			}
		}
		err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), nat.DeepCopy())
		if !apierrors.IsNotFound(err) {
			return errors.Join(err, errors.New("the PodNATConfiguration exists"))
		}
		return nil
	})
}
