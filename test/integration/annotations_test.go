// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestValuesOfThePauseAnnotation sets values that do not suspend reconciliation.
func TestValuesOfThePauseAnnotation(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.annotate(s.mvm(o.Name), v1alpha1.AnnotationPaused, "yes")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPaused, no, v1alpha1.ReasonAnnotationIgnored})
	s.eventually("an event exists", func() error {
		var list eventsv1.EventList
		if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == string(v1alpha1.ReasonAnnotationIgnored) && e.Type == "Warning" && e.Regarding.Name == o.Name {
				t.Log(e.Note)
				return nil
			}
		}
		return errors.New("not found")
	})
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.TerminationGracePeriodSeconds = new(int64(7))
	})
	s.awaitGrace(o.Name, 7) // The operator is not paused.

	s.annotate(s.mvm(o.Name), v1alpha1.AnnotationPaused, "true")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPaused, yes, v1alpha1.ReasonPaused})
	s.annotate(s.mvm(o.Name), v1alpha1.AnnotationPaused, "false")
	s.eventually("the condition Paused is absent", func() error {
		if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionPaused)); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})
}

// TestManagerOfTheTemplate applies a template with the label of another tool. The guest
// gets its rules, and the other children have the operator's label.
func TestManagerOfTheTemplate(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelManagedBy: "Helm"}
	pod := s.converge(o)
	vm := s.awaitVM(o.Name)
	if got := vm.Spec.Template.ObjectMeta.Labels[v1alpha1.LabelManagedBy]; got != "Helm" || pod.Labels[v1alpha1.LabelManagedBy] != "Helm" {
		t.Errorf("the label of the template is %q and of the pod %q, want Helm", got, pod.Labels[v1alpha1.LabelManagedBy])
	}
	if got := vm.Labels[v1alpha1.LabelManagedBy]; got != v1alpha1.ManagedByValue {
		t.Errorf("the label of the VirtualMachine is %q", got)
	}
}
