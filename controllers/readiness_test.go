// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

func TestReadiness(t *testing.T) {
	condition := func(name v1alpha1.ConditionType, status metav1.ConditionStatus, reason v1alpha1.ConditionReason) []metav1.Condition {
		return []metav1.Condition{{Type: string(name), Status: status, Reason: string(reason)}}
	}
	vm := func(name string, conditions []metav1.Condition) v1alpha1.MeshedVirtualMachine {
		return v1alpha1.MeshedVirtualMachine{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Status:     v1alpha1.MeshedVirtualMachineStatus{Conditions: conditions},
		}
	}
	elected := make(chan struct{})
	r := readiness{elected: elected, Reader: cached{
		vms: []v1alpha1.MeshedVirtualMachine{
			vm("web", condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)),
			vm("db", condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonStopped)),
			vm("new", nil),
		},
		nats: []v1alpha1.PodNATConfiguration{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"},
			Status:     v1alpha1.PodNATConfigurationStatus{Conditions: condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, v1alpha1.ReasonContended)},
		}, {
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-of-a-pod-that-is-gone"},
			Status: v1alpha1.PodNATConfigurationStatus{Conditions: append(
				condition(v1alpha1.ConditionTargetResolved, metav1.ConditionFalse, v1alpha1.ReasonPodNotFound),
				condition(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, v1alpha1.ReasonProgramming)...)},
		}},
	}}
	if n := testutil.CollectAndCount(r); n != 0 {
		t.Errorf("%d metrics of a manager that does not lead", n)
	}
	close(elected)
	want := `
# HELP meshvm_meshedvirtualmachine_ready Whether the condition Ready of the MeshedVirtualMachine is True (1) or not (0), with the reason of the condition.
# TYPE meshvm_meshedvirtualmachine_ready gauge
meshvm_meshedvirtualmachine_ready{name="db",namespace="shop",reason="Stopped"} 1
meshvm_meshedvirtualmachine_ready{name="new",namespace="shop",reason="Pending"} 0
meshvm_meshedvirtualmachine_ready{name="web",namespace="shop",reason="Ready"} 1
# HELP meshvm_podnatconfiguration_programmed Whether the condition Programmed of the PodNATConfiguration is True (1) or not (0), with the reason of the condition.
# TYPE meshvm_podnatconfiguration_programmed gauge
meshvm_podnatconfiguration_programmed{name="web-1",namespace="shop",reason="Contended"} 0
`
	if err := testutil.CollectAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("names: %v (%v)", problems, err)
	}
}

// cached lists what a cache has.
type cached struct {
	client.Reader
	vms  []v1alpha1.MeshedVirtualMachine
	nats []v1alpha1.PodNATConfiguration
}

func (c cached) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch l := list.(type) {
	case *v1alpha1.MeshedVirtualMachineList:
		l.Items = c.vms
	case *v1alpha1.PodNATConfigurationList:
		l.Items = c.nats
	}
	return nil
}
