// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// awaitSelector waits until the selector of the Service of a guest contains a label, and
// checks that it selects the pod.
func (s *suite) awaitSelector(name, label string, pod *corev1.Pod) {
	s.Helper()
	s.eventually("the Service selects by "+label, func() error {
		var service corev1.Service
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &service); err != nil {
			return err
		}
		if _, ok := service.Spec.Selector[label]; !ok {
			return fmt.Errorf("the selector is %v", service.Spec.Selector)
		}
		return nil
	})
	live := &corev1.Pod{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), live); err != nil {
		s.Fatal(err)
	}
	if !s.selects(name, live) {
		s.Errorf("the Service does not select the pod with the labels %v", live.Labels)
	}
}

// TestEditedAppLabel edits the label app of the template. The Service still selects the
// running pod.
func TestEditedAppLabel(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelApp: "shop"}
	})
	got := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionRestartRequired, yes, v1alpha1.ReasonRestartRequired},
		want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied},
		want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionRestartRequired)); !strings.Contains(c.Message, "label app") {
		t.Errorf("the message does not name the label: %s", c.Message)
	}
	s.awaitSelector(o.Name, v1alpha1.LabelService, pod)
}

// TestGuestOfEarlierOperator runs a guest whose pods do not have the label of the Service,
// because an earlier version of the operator started it. The Service selects it by the
// previous label, also during a live migration, until it is restarted.
func TestGuestOfEarlierOperator(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	before := vmi.DeepCopy()
	delete(vmi.Labels, v1alpha1.LabelService)
	if err := s.Patch(s.Context(), vmi, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.relabel(pod, func(l map[string]string) { delete(l, v1alpha1.LabelService) })
	s.awaitSelector(o.Name, v1alpha1.LabelMeshedVirtualMachine, pod)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].Timeout = "5s" })
	got := s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionRestartRequired)); c != nil {
		t.Errorf("a restart is required: %s", c.Message)
	}
	s.node("node-b", corev1.ConditionTrue)
	target := s.launcher(vmi, "node-b")
	s.awaitNAT(target)
	s.awaitSelector(o.Name, v1alpha1.LabelMeshedVirtualMachine, target)
	s.end(pod)
	s.stopGuest(o.Name, target)
	_, next := s.startGuest(o.Name, "node-a")
	s.awaitNAT(next)
	s.awaitSelector(o.Name, v1alpha1.LabelService, next)
}

// TestServiceLabelOfPod removes and changes the label of the Service on the running pod,
// as a user with the role "edit" may. The Service still selects the pod.
func TestServiceLabelOfPod(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	for _, change := range []func(map[string]string){
		func(l map[string]string) { delete(l, v1alpha1.LabelService) },
		func(l map[string]string) { l[v1alpha1.LabelService] = "db" },
	} {
		s.relabel(pod, change)
		s.awaitSelector(o.Name, v1alpha1.LabelMeshedVirtualMachine, pod)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged})
	}
	s.relabel(pod, func(l map[string]string) { l[v1alpha1.LabelService] = o.Name })
	s.awaitSelector(o.Name, v1alpha1.LabelService, pod)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}
