// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clone creates a VirtualMachine as KubeVirt does for a clone and for a restore
// to another VirtualMachine: with all labels, annotations and the spec, and
// without an owner (KubeVirt, pkg/storage/snapshot/restore.go,
// generateRestoredVMSpec). Then it starts the guest.
func (s *suite) clone(original, namespace, name string) (*kubevirtv1.VirtualMachineInstance, *corev1.Pod) {
	s.Helper()
	from := s.awaitVM(original)
	vm := &kubevirtv1.VirtualMachine{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: from.Labels, Annotations: from.Annotations},
		Spec:       *from.Spec.DeepCopy(),
	}
	if err := s.Create(s.Context(), vm); err != nil {
		s.Fatal(err)
	}
	other := *s
	other.namespace = namespace
	return other.startGuest(name, "node-a")
}

// selects reports whether the Service of a MeshedVirtualMachine selects a pod.
func (s *suite) selects(name string, pod *corev1.Pod) bool {
	s.Helper()
	var service corev1.Service
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &service); err != nil {
		s.Fatal(err)
	}
	return labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels))
}

// awaitStrayEvent waits for the event on the VirtualMachineInstance of a copy.
func (s *suite) awaitStrayEvent(name string) {
	s.Helper()
	var events eventsv1.EventList
	s.eventually("an event on the clone's VirtualMachineInstance exists", func() error {
		if err := s.List(s.Context(), &events, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Regarding.Kind == "VirtualMachineInstance" && e.Regarding.Name == name && e.Reason == string(v1alpha1.ReasonCopiedLabels) {
				return nil
			}
		}
		return errors.New("not found")
	})
}

func TestClone(t *testing.T) {
	s := start(t)
	s.serveGate()
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	nat := s.awaitNAT(pod)
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.gateIs(pod, true)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitNoJobs(nat)
	if !startgate.HasGate(pod) || !s.selects(o.Name, pod) {
		t.Fatalf("the guest's pod has a gate: %t, the Service selects it: %t", startgate.HasGate(pod), s.selects(o.Name, pod))
	}
	s.quiet()
	s.calls.reset(nil)
	vmi, copied := s.clone(o.Name, s.namespace, "web-clone")
	if vmi.Labels[v1alpha1.LabelMeshedVirtualMachine] != o.Name {
		t.Fatalf("the clone has labels %v", vmi.Labels)
	}
	if startgate.HasGate(copied) || copied.Labels[v1alpha1.LabelMeshedVirtualMachine] != "" || s.selects(o.Name, copied) {
		t.Errorf("the clone's pod has a gate: %t, labels %v", startgate.HasGate(copied), copied.Labels)
	}
	stray := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionStrayGuests, yes, v1alpha1.ReasonCopiedLabels},
		want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if c := meta.FindStatusCondition(stray.Status.Conditions, string(v1alpha1.ConditionStrayGuests)); !strings.Contains(c.Message, `"web-clone"`) {
		t.Errorf("message %q", c.Message)
	}
	s.awaitStrayEvent("web-clone")
	s.quiet()
	if n := s.calls.count("create", "events"); n > 2 {
		t.Errorf("%d events for one clone, want one for the clone and one for its original:\n%s", n, s.calls.table())
	}
	// A patch is repeated if the cache does not contain it yet.
	if n, patches := s.calls.writeCount(), s.calls.count("patch", "meshedvirtualmachines/status"); n != patches || n > 2 {
		t.Errorf("%d writes for one clone, want one of the status:\n%s", n, s.calls.table())
	}
	s.atRest()

	// A pod that the webhook did not see, with all labels of the original.
	unseen := copied.DeepCopy()
	unseen.ObjectMeta = metav1.ObjectMeta{Namespace: s.namespace, Name: "unseen", Labels: map[string]string{}}
	maps.Copy(unseen.Labels, pod.Labels)
	for _, k := range []string{kubevirtv1.CreatedByLabel, kubevirtv1.DeprecatedVirtualMachineNameLabel, kubevirtv1.VirtualMachineInstanceIDLabel} {
		unseen.Labels[k] = copied.Labels[k]
	}
	if s.selects(o.Name, unseen) {
		t.Errorf("the Service selects a clone's pod that has all labels of the original: %v", unseen.Labels)
	}

	// A copy of the same name in another namespace has no MeshedVirtualMachine.
	elsewhere := s.namespace + "-copy"
	s.makeNamespace(elsewhere)
	if _, p := s.clone(o.Name, elsewhere, o.Name); startgate.HasGate(p) {
		t.Error("the pod of a copy in another namespace has a gate that never opens")
	}

	if err := s.Delete(s.Context(), vmi); err != nil {
		t.Fatal(err)
	}
	s.eventually("the condition is removed", func() error {
		if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionStrayGuests)); c != nil {
			return fmt.Errorf("it is %s", c.Message)
		}
		return nil
	})
}
