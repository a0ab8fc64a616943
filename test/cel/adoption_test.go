// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	oneMachine     = "set exactly one of virtualMachine, for a VirtualMachine that the operator creates, and existingVirtualMachine, for one that exists"
	keepsMachine   = "deletionPolicy of an existing VirtualMachine is always Orphan: omit it; to delete the VirtualMachine, delete this MeshedVirtualMachine and then run kubectl delete vm"
	noMetadata     = "virtualMachineMetadata applies only to a VirtualMachine that the operator creates: omit it, and set labels and annotations on the existing VirtualMachine"
	sameChoice     = "the choice between virtualMachine and existingVirtualMachine is immutable: delete this MeshedVirtualMachine, which releases an existing VirtualMachine, and create another one"
	sameMachine    = "existingVirtualMachine.name is immutable: delete this MeshedVirtualMachine, which releases the VirtualMachine, and create another one"
	adoptedMachine = `
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata:
  name: database
spec:
  existingVirtualMachine: {name: db}
`
)

// aMachine is a spec of a VirtualMachine.
var aMachine = map[string]any{"template": map[string]any{"spec": map[string]any{"domain": map[string]any{"devices": map[string]any{}}}}}

// adoptionCases change an object that adopts a VirtualMachine before it is created.
var adoptionCases = map[string]testCase{
	"the shortest object":   {},
	"name with dots":        {set: map[string]any{"spec.existingVirtualMachine.name": "db.1"}},
	"name of 63 characters": {set: map[string]any{"spec.existingVirtualMachine.name": strings.Repeat("a", 63)}},
	"name of 64 characters": {set: map[string]any{"spec.existingVirtualMachine.name": strings.Repeat("a", 64)}, want: []string{"spec.existingVirtualMachine.name", "63"}},
	"another namespace":     {set: map[string]any{"spec.existingVirtualMachine.name": "shop/db"}, want: []string{"spec.existingVirtualMachine.name", "should match"}},
	"no name":               {set: map[string]any{"spec.existingVirtualMachine": map[string]any{}}, want: []string{"spec.existingVirtualMachine.name: Required value"}},
	"both":                  {set: map[string]any{"spec.virtualMachine": aMachine}, want: []string{oneMachine}},
	"neither":               {set: map[string]any{"spec.existingVirtualMachine": removed}, want: []string{oneMachine}},
	"deletionPolicy Orphan": {set: map[string]any{"spec.deletionPolicy": "Orphan"}},
	"deletionPolicy Delete": {set: map[string]any{"spec.deletionPolicy": "Delete"}, want: []string{keepsMachine}},
	"labels":                {set: map[string]any{"spec.virtualMachineMetadata": map[string]any{"labels": map[string]any{"a": "b"}}}, want: []string{noMetadata}},
	"annotations":           {set: map[string]any{"spec.virtualMachineMetadata": map[string]any{"annotations": map[string]any{"a": "b"}}}, want: []string{noMetadata}},
	"empty metadata":        {set: map[string]any{"spec.virtualMachineMetadata": map[string]any{"labels": map[string]any{}}}},
}

func TestAdoption(t *testing.T) { run(t, adoptedMachine, adoptionCases) }

// adoptedCases change an existing object that adopts a VirtualMachine.
var adoptedCases = map[string]testCase{
	"another VirtualMachine":        {set: map[string]any{"spec.existingVirtualMachine.name": "other"}, want: []string{sameMachine}},
	"one that the operator creates": {set: map[string]any{"spec.existingVirtualMachine": removed, "spec.virtualMachine": aMachine}, want: []string{sameChoice}},
	"deletionPolicy Delete":         {set: map[string]any{"spec.deletionPolicy": "Delete"}, want: []string{keepsMachine}},
	"another version":               {set: map[string]any{"spec.version": "v2"}},
}

func TestAdopted(t *testing.T) {
	env := shared.Get(t)
	base := object(t, adoptedMachine, map[string]any{"metadata.name": "adopted"})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range adoptedCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
	t.Run("an existing VirtualMachine instead of the operator's", func(t *testing.T) {
		created := object(t, meshedVirtualMachine, map[string]any{"metadata.name": "created"})
		if err := env.Client.Create(t.Context(), created); err != nil {
			t.Fatal(err)
		}
		changed := &unstructured.Unstructured{Object: apply(t, created.DeepCopy().Object, map[string]any{"spec.virtualMachine": removed, "spec.existingVirtualMachine": map[string]any{"name": "db"}})}
		check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), []string{sameChoice})
	})
}
