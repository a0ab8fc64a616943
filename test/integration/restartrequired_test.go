// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"meshvm.io/meshvm/api/v1alpha1"
)

// TestRestartIsRequired changes fields that take effect at the next start of the guest.
func TestRestartIsRequired(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Ports[0].Timeout = "5s"
	pod := s.converge(o)
	if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionRestartRequired)); c != nil {
		t.Fatalf("RestartRequired without a change: %s", c.Message)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.DataPlane = v1alpha1.DataPlaneAmbient
		spec.Start = v1alpha1.StartPolicyImmediate
		spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{"team": "a"}
		spec.VirtualMachine.Template.ObjectMeta.Annotations = map[string]string{"example.com/note": "b"}
	})
	got := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionRestartRequired, yes, v1alpha1.ReasonRestartRequired},
		want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied},
		want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady},
	)
	message := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionRestartRequired)).Message
	t.Log(message)
	for _, part := range []string{pod.Name, "mesh.dataPlane is Ambient and the pod has Sidecar", "start is Immediate and the pod has AfterProgrammed", "label team", "annotation example.com/note"} {
		if !strings.Contains(message, part) {
			t.Errorf("the message does not contain %q", part)
		}
	}
	if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionMeshPolicyApplied)); strings.Contains(c.Message, "ztunnel") {
		t.Errorf("the message describes the data plane of the next pod: %s", c.Message)
	}

	// A reverted change requires no restart.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.DataPlane, spec.Start = "", ""
		spec.VirtualMachine.Template.ObjectMeta.Labels, spec.VirtualMachine.Template.ObjectMeta.Annotations = nil, nil
	})
	s.eventually("no restart is required", func() error {
		if c := meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionRestartRequired)); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})
}
