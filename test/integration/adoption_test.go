// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// existingVM is a VirtualMachine of a user, whose guest has a sidecar. METADATA is the
// metadata of its template.
const existingVM = `
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: db, labels: {team: a}}
spec:
  runStrategy: Manual
  template:
    METADATA
    spec:
      domain: {devices: {interfaces: [{name: default, masquerade: {}}]}}
      networks: [{name: default, pod: {}}]
`

// byPolicy permits adoption to the users to whom the admission policy permits it.
func byPolicy(o *controllers.Options) { o.Adoption = configv1alpha1.AdoptionByPolicy }

// createExisting creates the VirtualMachine of a user as kubectl does.
func (s *suite) createExisting(metadata string) {
	s.Helper()
	vm := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.Replace(existingVM, "METADATA", metadata, 1)), &vm.Object); err != nil {
		s.Fatal(err)
	}
	vm.SetNamespace(s.namespace)
	if err := s.Create(s.Context(), vm, client.FieldOwner("kubectl-create")); err != nil {
		s.Fatal(err)
	}
}

// vmText returns the VirtualMachine as text, without the fields that each write changes, and
// without its status.
func (s *suite) vmText() string {
	s.Helper()
	vm, err := s.read(children.VirtualMachineKind, "db")
	if err != nil {
		s.Fatal(err)
	}
	vm.SetManagedFields(nil)
	vm.SetResourceVersion("")
	vm.SetGeneration(0)
	delete(vm.Object, "status")
	text, err := json.Marshal(vm.Object)
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// adopter returns an object that adopts the VirtualMachine db.
func (s *suite) adopter(name string) *v1alpha1.MeshedVirtualMachine {
	o := builders.MVM(name).Namespace(s.namespace).Ports(builders.HTTP("http", 80, 8080)).Obj()
	o.UID, o.Generation = "", 0
	o.Spec.VirtualMachine = kubevirtv1.VirtualMachineSpec{}
	o.Spec.ExistingVirtualMachine.Name = "db"
	return o
}

func (s *suite) adoptedMessage(name string) string {
	if c := meta.FindStatusCondition(s.mvm(name).Status.Conditions, string(v1alpha1.ConditionAdopted)); c != nil {
		return c.Message
	}
	return ""
}

const injected = `{labels: {sidecar.istio.io/inject: "true", app: db}, annotations: {sidecar.istio.io/inject: "true"}, creationTimestamp: null}`

// TestAdoption adopts the VirtualMachine of a running guest and releases it. The guest is
// not restarted, and the VirtualMachine is the same as before, byte for byte.
func TestAdoption(t *testing.T) {
	s := start(t, byPolicy)
	s.createExisting("metadata: " + injected)
	vmi, pod := s.startGuest("db", "node-a")
	before, uid := s.vmText(), s.awaitVM("db").UID
	o := s.adopter("database")
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	nat := s.awaitNAT(pod)
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady}, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
	s.awaitNoJobs(nat)
	vm := s.awaitVM("db")
	labels := vm.Spec.Template.ObjectMeta.Labels
	if labels[v1alpha1.LabelMeshedVirtualMachine] != o.Name || labels[v1alpha1.LabelStartGate] == "" || len(vm.OwnerReferences) > 0 || *vm.Spec.RunStrategy != kubevirtv1.RunStrategyManual {
		t.Errorf("labels of the template %v, owners %v, run strategy %s", labels, vm.OwnerReferences, *vm.Spec.RunStrategy)
	}
	if !s.selects(o.Name, pod) {
		t.Error("the Service does not select the pod, which was started before the adoption")
	}
	s.atRest()
	if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
		t.Fatal(err)
	}
	s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	s.awaitAbsent(o)
	if after := s.vmText(); after != before {
		t.Errorf("the VirtualMachine was\n%s\nand is now\n%s", before, after)
	}
	for _, m := range s.awaitVM("db").ManagedFields {
		if strings.HasPrefix(m.Manager, v1alpha1.FieldOwner) {
			t.Errorf("%s is a field manager of the VirtualMachine: %s", m.Manager, m.FieldsV1.GetRawBytes())
		}
	}
	for _, object := range []client.Object{vmi, pod} {
		labels := object.GetLabels()
		wanted := object.GetUID()
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(object), object); err != nil || object.GetUID() != wanted || !object.GetDeletionTimestamp().IsZero() || fmt.Sprint(object.GetLabels()) != fmt.Sprint(labels) {
			t.Errorf("%T is not the same: %v, labels %v", object, err, object.GetLabels())
		}
	}
	if got := s.awaitVM("db").UID; got != uid {
		t.Errorf("the UID of the VirtualMachine was %s and is %s", uid, got)
	}
}

// TestReleasedTemplates adopts stopped VirtualMachines with every form of metadata of the
// template, and compares them after the release.
func TestReleasedTemplates(t *testing.T) {
	s := start(t, byPolicy)
	for _, metadata := range []string{
		"", "metadata: {}", "metadata: {creationTimestamp: null}", "metadata: {labels: {}, annotations: {}}", "metadata: {labels: {a: b}}",
		"metadata: {annotations: {a: b}}", `metadata: {labels: {version: v1}}`, "metadata: " + injected,
	} {
		s.createExisting(metadata)
		before := s.vmText()
		o := s.adopter("database")
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		s.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})
		if s.vmText() == before {
			t.Errorf("%q: the VirtualMachine is not changed", metadata)
		}
		if err := s.Delete(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		s.awaitAbsent(o)
		if after := s.vmText(); after != before {
			t.Errorf("%q: the VirtualMachine was\n%s\nand is now\n%s", metadata, before, after)
		}
		if err := s.Delete(s.Context(), s.awaitVM("db")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAdoptionIsRefused lets everything go wrong in turn, on one MeshedVirtualMachine: no
// VirtualMachine, a bridge, a label of a user, and a VirtualMachine that belongs to others.
func TestAdoptionIsRefused(t *testing.T) {
	s := start(t, byPolicy)
	o := s.adopter("database")
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	refused := func(reason v1alpha1.ConditionReason) {
		t.Helper()
		s.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, no, reason}, want{v1alpha1.ConditionAccepted, no, reason}, want{v1alpha1.ConditionReady, no, reason})
	}
	refused(v1alpha1.ReasonVirtualMachineNotFound)
	s.atRest()

	// The operator notices the VirtualMachine without a retry.
	s.createExisting(`metadata: {labels: {version: v3, sidecar.istio.io/inject: "false"}}`)
	before := s.vmText()
	refused(v1alpha1.ReasonFieldConflict)
	for _, part := range []string{"spec.template.metadata.labels.version (set by kubectl-create)", "sidecar.istio.io/inject (set by kubectl-create)", "set spec.version to v3"} {
		if message := s.adoptedMessage(o.Name); !strings.Contains(message, part) {
			t.Errorf("the message does not contain %q: %s", part, message)
		}
	}
	if err := s.absent(children.ServiceKind, o.Name); err != nil {
		t.Error(err)
	}
	if after := s.vmText(); after != before {
		t.Errorf("the VirtualMachine was\n%s\nand is now\n%s", before, after)
	}

	s.editVM("db", "kubectl-create", func(vm *kubevirtv1.VirtualMachine) {
		vm.Spec.Template.ObjectMeta.Labels = nil
		vm.Spec.Template.Spec.Domain.Devices.Interfaces[0] = *kubevirtv1.DefaultBridgeNetworkInterface()
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonBridgeBinding}, want{v1alpha1.ConditionAdopted, unknown, v1alpha1.ReasonPending})
	s.editVM("db", "kubectl-create", func(vm *kubevirtv1.VirtualMachine) {
		vm.Spec.Template.Spec.Domain.Devices.Interfaces[0] = *kubevirtv1.DefaultMasqueradeNetworkInterface()
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})

	// The oldest adopts the VirtualMachine, and the next one continues after its release.
	second := s.adopter("second")
	if err := s.Create(s.Context(), second); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(second.Name, want{v1alpha1.ConditionAdopted, no, v1alpha1.ReasonVirtualMachineConflict})
	if message := s.adoptedMessage(second.Name); !strings.Contains(message, "MeshedVirtualMachine database adopts VirtualMachine db") {
		t.Errorf("the message is %s", message)
	}
	if err := s.Delete(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitAbsent(o)
	s.awaitMVM(second.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted})

	// A VirtualMachine that the operator created belongs to its MeshedVirtualMachine.
	web := s.web()
	if err := s.Create(s.Context(), web); err != nil {
		t.Fatal(err)
	}
	s.awaitVM(web.Name)
	third := s.adopter("third")
	third.Spec.ExistingVirtualMachine.Name = web.Name
	if err := s.Create(s.Context(), third); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(third.Name, want{v1alpha1.ConditionAdopted, no, v1alpha1.ReasonVirtualMachineConflict})
	if message := s.adoptedMessage(third.Name); !strings.Contains(message, "MeshedVirtualMachine web created VirtualMachine web") {
		t.Errorf("the message is %s", message)
	}
}

// TestAdoptionWithoutSidecar adopts a guest that was started without a sidecar. The next
// guest has one, and its pod is that of the mesh.
func TestAdoptionWithoutSidecar(t *testing.T) {
	s := start(t, byPolicy)
	s.createExisting("metadata: {labels: {app: db}}")
	_, pod := s.startGuest("db", "node-a")
	bare := pod.DeepCopy()
	bare.Spec.Containers = []corev1.Container{bare.Spec.Containers[0]}
	bare.ResourceVersion, bare.UID, bare.Name = "", "", "bare"
	if err := s.Delete(s.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(s.Context(), bare); err != nil {
		t.Fatal(err)
	}
	o := s.adopter("database")
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAdopted, yes, v1alpha1.ReasonAdopted}, want{v1alpha1.ConditionRestartRequired, yes, v1alpha1.ReasonSidecarMissing},
		want{v1alpha1.ConditionReady, no, ""})
}
