package integration

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// TestPodsOfARefusedSpec: one edit lets a port bypass the mesh and has something
// that is refused. Pods that start then get the rules of the spec before it, which
// the PeerAuthentication is still of.
func TestPodsOfARefusedSpec(t *testing.T) {
	s := start(t)
	o := s.web()
	first := s.converge(o)
	before := s.awaitNAT(first)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].Route, spec.Ports[0].AppProtocol = v1alpha1.PortRouteDirect, ""
		spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	s.node("node-b", corev1.ConditionTrue)

	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	next := s.launcher(vmi, "node-b")
	got := s.awaitNAT(next)
	if diff := cmp.Diff(before.Spec.Inbound, got.Spec.Inbound); diff != "" {
		t.Errorf("the new pod has not the ports of the spec before: %s", diff)
	}
	s.runWriter(got.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, metav1.ConditionUnknown, v1alpha1.ReasonPending})
}
