// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/argocd"
)

// TestRunStrategyLeftOut stops and starts a VirtualMachine as virtctl does, while the
// spec does not set a run strategy and while it does.
func TestRunStrategyLeftOut(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.VirtualMachine.RunStrategy = nil
	s.converge(o)
	await := func(want kubevirtv1.VirtualMachineRunStrategy) {
		t.Helper()
		s.eventually("the run strategy is "+string(want), func() error {
			if got := s.runStrategy(o.Name); got != want {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
		s.quiet()
		if got := s.runStrategy(o.Name); got != want {
			t.Fatalf("the run strategy is %q, want still %q", got, want)
		}
	}
	virtctl := func(r kubevirtv1.VirtualMachineRunStrategy) {
		t.Helper()
		s.editVM(o.Name, "virt-api", func(vm *kubevirtv1.VirtualMachine) { vm.Spec.RunStrategy = &r })
	}
	spec := func(r *kubevirtv1.VirtualMachineRunStrategy) {
		t.Helper()
		s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.VirtualMachine.RunStrategy = r })
	}
	grace := func(seconds int64) {
		t.Helper()
		s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.VirtualMachine.Template.Spec.TerminationGracePeriodSeconds = &seconds
		})
		s.awaitGrace(o.Name, seconds)
	}

	await(kubevirtv1.RunStrategyAlways)
	grace(5) // The operator is still the manager of the field that it created.
	await(kubevirtv1.RunStrategyAlways)

	virtctl(kubevirtv1.RunStrategyHalted)
	await(kubevirtv1.RunStrategyHalted)
	grace(6)
	await(kubevirtv1.RunStrategyHalted)
	s.restart()
	grace(7)
	await(kubevirtv1.RunStrategyHalted)
	u, err := s.read(children.VirtualMachineKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	if managers := managersOf(u, "f:runStrategy"); strings.Join(managers, " ") != "virt-api" {
		t.Errorf("the managers of the run strategy are %v, want only virt-api", managers)
	}
	virtctl(kubevirtv1.RunStrategyManual)
	await(kubevirtv1.RunStrategyManual)

	// A run strategy in the spec is enforced.
	spec(new(kubevirtv1.RunStrategyAlways))
	await(kubevirtv1.RunStrategyAlways)
	virtctl(kubevirtv1.RunStrategyHalted)
	await(kubevirtv1.RunStrategyAlways)

	// After its removal from the spec, the VirtualMachine keeps the last value.
	spec(nil)
	await(kubevirtv1.RunStrategyAlways)
	virtctl(kubevirtv1.RunStrategyHalted)
	await(kubevirtv1.RunStrategyHalted)
}

// TestDeclaredStop stops a guest in the spec. kstatus is Current when it has stopped,
// so that a wait of Flux ends, and Argo CD reports Suspended. awaitMVM checks kstatus.
func TestDeclaredStop(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.RunStrategy = new(kubevirtv1.RunStrategyHalted)
	})
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonStopping},
		want{v1alpha1.ConditionReconciling, yes, v1alpha1.ReasonProgressing},
	)

	s.stopGuest(o.Name, pod)
	stopped := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonStopped},
		want{v1alpha1.ConditionVirtualMachineReady, yes, v1alpha1.ReasonStopped},
		want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonNoPod},
	)
	if mode := stopped.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		t.Errorf("the effective mTLS mode is %s although no rules are verified, want Disable", mode)
	}
	health, message, err := argocd.Health(&unstructured.Unstructured{Object: s.content(stopped)})
	if err != nil || health != "Suspended" {
		t.Errorf("the health in Argo CD is %s (%s), error %v, want Suspended", health, message, err)
	}

	// KubeVirt has not started the guest yet.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.RunStrategy = new(kubevirtv1.RunStrategyAlways)
	})
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonStarting},
		want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNoPod},
	)
}

// stopGuest simulates KubeVirt's controllers, which stop a guest and delete its
// instance and its pod.
func (s *suite) stopGuest(name string, pod *corev1.Pod) {
	s.Helper()
	vmi := &kubevirtv1.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	for _, o := range []client.Object{pod, vmi} {
		if err := s.Delete(s.Context(), o, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			s.Fatal(err)
		}
	}
	s.vmIs(name, func(st *kubevirtv1.VirtualMachineStatus) {
		st.Created, st.Ready = false, false
		st.PrintableStatus = kubevirtv1.VirtualMachineStatusStopped
		st.Conditions = []kubevirtv1.VirtualMachineCondition{{Type: kubevirtv1.VirtualMachineReady, Status: corev1.ConditionFalse}}
	})
}

// content returns the fields of an object.
func (s *suite) content(o client.Object) map[string]any {
	s.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		s.Fatal(err)
	}
	return content
}

func (s *suite) runStrategy(name string) kubevirtv1.VirtualMachineRunStrategy {
	s.Helper()
	vm := s.awaitVM(name)
	if vm.Spec.RunStrategy == nil {
		return ""
	}
	return *vm.Spec.RunStrategy
}

// managersOf returns the field managers of a field of the spec.
func managersOf(u *unstructured.Unstructured, field string) []string {
	var out []string
	for _, e := range u.GetManagedFields() {
		if e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"`+field+`"`) {
			out = append(out, e.Manager)
		}
	}
	return out
}
