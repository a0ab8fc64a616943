// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	yes     = metav1.ConditionTrue
	no      = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)

// read reads an object of any kind.
func (s *suite) read(kind schema.GroupVersionKind, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u, s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, u)
}

// converge brings a new guest to Ready and returns its pod.
func (s *suite) converge(o *v1alpha1.MeshedVirtualMachine) *corev1.Pod {
	s.Helper()
	if err := s.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	nat := s.awaitNAT(pod)
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitNoJobs(nat)
	return pod
}

// awaitNoJobs waits until the finished Job of a configuration is deleted.
func (s *suite) awaitNoJobs(nat *v1alpha1.PodNATConfiguration) {
	s.Helper()
	s.eventually("the finished rule-writer Job is deleted", func() error {
		if n := len(s.jobs(nat.UID)); n > 0 {
			return fmt.Errorf("%d left", n)
		}
		return nil
	})
}

func TestLifecycle(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	// Nothing is running yet, but all conditions are present.
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionReady, no, ""},
		want{v1alpha1.ConditionReconciling, yes, v1alpha1.ReasonProgressing},
		want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted},
		want{v1alpha1.ConditionDependenciesAvailable, yes, v1alpha1.ReasonAvailable},
		want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied},
		want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied},
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonStarting},
		want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNoPod},
	)
	for _, kind := range singletons {
		u, err := s.read(kind, o.Name)
		if err != nil {
			t.Fatalf("%s: %v", kind.Kind, err)
		}
		if !metav1.IsControlledBy(u, o) {
			t.Errorf("%s is not controlled by the MeshedVirtualMachine", kind.Kind)
		}
	}

	_, pod := s.startGuest(o.Name, "node-a")
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionVirtualMachineReady, yes, v1alpha1.ReasonRunning},
		want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonProgramming},
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonProgramming},
	)
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonProgramming}, want{v1alpha1.ConditionTargetResolved, yes, v1alpha1.ReasonResolved})
	if mode := s.mvm(o.Name).Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		t.Errorf("effective mTLS mode is %s before the rules are verified, want Disable", mode)
	}

	request := s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	plan := request.Targets[0].Plan
	if !slices.Equal(plan.Inbound.Mesh, []uint16{8080}) || !slices.Equal(plan.Inbound.DirectTCP, ruleio.Ports(22)) || !slices.Equal(plan.Inbound.DirectUDP, ruleio.Ports(9000)) {
		t.Errorf("the plan's inbound ports are %+v", plan.Inbound)
	}
	ready := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady},
		want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed},
	)
	nat = s.awaitNAT(pod, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	digest, err := request.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if a := nat.Status.Applied; a.RequestDigest != digest || a.Rules != 9 || a.NetnsInode != 4026532000 {
		t.Errorf("applied is %+v, want the digest %s", a, digest)
	}
	if st := ready.Status; st.MTLS.EffectiveMode != v1alpha1.MTLSModeStrict || !slices.Equal(st.MTLS.BypassedPorts, []string{"echo", "ssh"}) ||
		len(st.Pods) != 1 || st.Pods[0].UID != pod.UID || st.Pods[0].Digest != nat.Status.Applied.Digest || len(st.RelatedObjects) != len(singletons)+1 {
		t.Errorf("status: %+v", st)
	}
	s.awaitNoJobs(nat)
	if c := meta.FindStatusCondition(ready.Status.Conditions, string(v1alpha1.ConditionReconciling)); c != nil {
		t.Error("Reconciling is still present")
	}
	t.Logf("API calls of the operator for one MeshedVirtualMachine, from its creation to Ready:\n%s", s.calls.table())
}

func TestNoWritesAfterConvergence(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	s.quiet()
	s.calls.reset(nil)
	const touches = 100
	first := s.reconciles("meshedvirtualmachine")
	for i := range touches {
		u, err := s.read(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"), o.Name)
		if err != nil {
			t.Fatal(err)
		}
		before := u.DeepCopy()
		u.SetAnnotations(map[string]string{"test.meshvm.io/touch": fmt.Sprint(i)})
		if err := s.Patch(s.Context(), u, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		s.eventually("the touch is reconciled", func() error {
			if n := s.reconciles("meshedvirtualmachine"); n < first+float64(i)+1 {
				return fmt.Errorf("%v reconciles", n-first)
			}
			return nil
		})
	}
	s.quiet()
	if n := s.calls.writeCount(); n != 0 {
		t.Errorf("%d writes in %d reconciles after convergence, want none:\n%s", n, touches, s.calls.table())
	}
	t.Logf("%v reconciles after convergence: %d writes", s.reconciles("meshedvirtualmachine")-first, s.calls.writeCount())
}

func TestDriftIsRepaired(t *testing.T) {
	s := start(t)
	o := withPolicies(s.web())
	s.converge(o)
	for _, kind := range slices.Concat(singletons, requested) {
		if _, ok := drifts[kind.Kind]; !ok {
			t.Errorf("the table drifts in kinds_test.go does not contain a change of a %s: add one", kind.Kind)
			continue
		}
		original, err := s.read(kind, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(kind.Kind+" edited", func(*testing.T) {
			edited := original.DeepCopy()
			edited.SetLabels(map[string]string{v1alpha1.LabelMeshedVirtualMachine: "stolen"})
			if err := s.Patch(s.Context(), edited, client.MergeFrom(original)); err != nil {
				s.Fatal(err)
			}
			s.eventually(kind.Kind+" has its labels again", func() error {
				u, err := s.read(kind, o.Name)
				if err == nil && u.GetLabels()[v1alpha1.LabelMeshedVirtualMachine] != o.Name {
					err = fmt.Errorf("labels %v", u.GetLabels())
				}
				return err
			})
		})
		t.Run(kind.Kind+" with another spec", func(*testing.T) {
			s.editSpec(kind, o.Name)
		})
		t.Run(kind.Kind+" deleted", func(*testing.T) {
			if err := s.Delete(s.Context(), original.DeepCopy(), client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
				s.Fatal(err)
			}
			s.eventually(kind.Kind+" exists again", func() error {
				u, err := s.read(kind, o.Name)
				if err == nil && u.GetUID() == original.GetUID() {
					err = errors.New("the previous object still exists")
				}
				return err
			})
		})
	}
	t.Run("a port added to the Service", func(*testing.T) {
		var svc corev1.Service
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), &svc); err != nil {
			s.Fatal(err)
		}
		before := svc.DeepCopy()
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "backdoor", Port: 6666})
		if err := s.Patch(s.Context(), &svc, client.MergeFrom(before)); err != nil {
			s.Fatal(err)
		}
		s.eventually("the port is removed", func() error {
			if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), &svc); err != nil {
				return err
			}
			if len(svc.Spec.Ports) != 3 {
				return fmt.Errorf("ports %v", svc.Spec.Ports)
			}
			return nil
		})
	})
	t.Run("a PodNATConfiguration edited", func(*testing.T) {
		nat := s.onlyNAT()
		before := nat.DeepCopy()
		nat.Spec.Inbound.DirectTCP = append(nat.Spec.Inbound.DirectTCP, 6666)
		if err := s.Patch(s.Context(), nat, client.MergeFrom(before)); err != nil {
			s.Fatal(err)
		}
		s.eventually("the edit is reverted", func() error {
			if nat := s.onlyNAT(); !slices.Equal(nat.Spec.Inbound.DirectTCP, []int32{22}) {
				return fmt.Errorf("directTCP %v", nat.Spec.Inbound.DirectTCP)
			}
			return nil
		})
	})
}

// editSpec changes a field of an object's spec and waits until it is restored.
func (s *suite) editSpec(kind schema.GroupVersionKind, name string) {
	s.Helper()
	drift := drifts[kind.Kind]
	before, err := s.read(kind, name)
	if err != nil {
		s.Fatal(err)
	}
	original, found, err := unstructured.NestedFieldCopy(before.Object, drift.path...)
	if err != nil || !found {
		s.Fatalf("%s does not have %v: %v", kind.Kind, drift.path, err)
	}
	edited := before.DeepCopy()
	if err := unstructured.SetNestedField(edited.Object, drift.value, drift.path...); err != nil {
		s.Fatal(err)
	}
	if err := s.Patch(s.Context(), edited, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
	s.eventually(kind.Kind+" has its spec again", func() error {
		u, err := s.read(kind, name)
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedFieldCopy(u.Object, drift.path...); !cmp.Equal(got, original) {
			return fmt.Errorf("%v is %v, want %v", drift.path, got, original)
		}
		return nil
	})
}

func TestPruned(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports = spec.Ports[1:2] })
	s.eventually("the VirtualService of a guest without mesh ports is deleted", func() error {
		_, err := s.read(children.VirtualServiceKind, o.Name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it exists"))
	})
	if _, err := s.read(children.ServiceKind, o.Name); err != nil {
		t.Errorf("the Service was also pruned: %v", err)
	}
	nat := s.awaitNAT(pod)
	s.podIs(pod, func(st *corev1.PodStatus) { st.Phase = corev1.PodSucceeded })
	s.eventually("the PodNATConfiguration of the ended pod is deleted", func() error {
		err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), nat)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it exists"))
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNoPod})
}

func TestEditAppliesToRunningPod(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	old := s.awaitNAT(pod)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Capture.Outbound.ExcludeCIDRs = []string{"10.96.0.0/16"}
	})
	request := s.runWriter(old.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	if got := request.Targets[0].Plan.Outbound.ExcludeCIDRs; !slices.Equal(got, []string{"10.96.0.0/16"}) {
		t.Errorf("the new plan excludes %v", got)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if nat := s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, ""}); nat.UID != old.UID || nat.Status.Applied.RequestDigest == old.Status.Applied.RequestDigest {
		t.Errorf("the same PodNATConfiguration must have another digest: %s %+v", nat.UID, nat.Status.Applied)
	}
}

// TestRevertedEdit reverts an edit while its rule-writer may already have
// written. The previous verification is no longer valid.
func TestRevertedEdit(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	exclude := func(cidrs ...string) {
		s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Capture.Outbound.ExcludeCIDRs = cidrs })
	}
	exclude("10.96.0.0/16")
	edited, _ := s.writer(nat.UID, ruleio.OperationApply)
	exclude()
	s.eventually("the rule-writer of the edit is deleted", func() error {
		p := edited.DeepCopy()
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(edited), p); err != nil {
			return err
		}
		if p.DeletionTimestamp.IsZero() {
			return errors.New("it is not")
		}
		return nil
	})
	s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, no, v1alpha1.ReasonProgramming})
	s.quiet()
	if n := len(s.jobs(nat.UID)); n != 0 {
		t.Errorf("%d Jobs while another rule-writer is running, want none", n)
	}
	// The kubelet terminates it.
	if err := s.Delete(s.Context(), edited, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	if request := s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied); len(request.Targets[0].Plan.Outbound.ExcludeCIDRs) != 0 {
		t.Errorf("the rules of the reverted edit are reported: %+v", request.Targets[0].Plan.Outbound)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

func TestNoWritesOfThePodNATConfigurationController(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.quiet()
	s.calls.reset(nil)
	const touches = 100
	first := s.reconciles("podnatconfiguration")
	for i := range touches {
		before := &corev1.Pod{}
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), before); err != nil {
			t.Fatal(err)
		}
		after := before.DeepCopy()
		after.Annotations = map[string]string{"test.meshvm.io/touch": fmt.Sprint(i)}
		if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		s.eventually("the touch is reconciled", func() error {
			if n := s.reconciles("podnatconfiguration"); n < first+float64(i)+1 {
				return fmt.Errorf("%v reconciles", n-first)
			}
			return nil
		})
	}
	s.quiet()
	if n := s.calls.writeCount(); n != 0 {
		t.Errorf("%d writes in %d reconciles, want none:\n%s", n, touches, s.calls.table())
	}
}
