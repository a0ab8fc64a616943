// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// sized is a machine whose size is that of an instancetype. It is stopped, because KubeVirt
// expands an instancetype before the start.
const sized = `
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineInstancetype
metadata: {name: small}
spec: {cpu: {guest: 1}, memory: {guest: 256Mi}}
---
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata: {name: one}
spec:
  virtualMachine:
    runStrategy: Halted
    instancetype: {name: small, kind: VirtualMachineInstancetype}
    template: {spec: {domain: {devices: {}}}}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// expanded lets KubeVirt replace an instancetype with its fields. The operator must not
// restore the instancetype, which KubeVirt would reject, and must apply later edits.
func expanded(t *suite.T) {
	t.Operator()
	s := t.Namespace("expanded")
	ctx := t.Limit(4 * time.Minute)
	key := client.ObjectKey{Namespace: s.SampleNamespace(), Name: "one"}
	configure := func(policy string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"configuration":{"instancetype":`+policy+`}}}`))
		t.NoError(s.Patch(t.Limit(time.Minute), suite.KubeVirtObject("KubeVirt", client.ObjectKey{Namespace: "kubevirt", Name: "kubevirt"}), patch))
	}
	configure(`{"referencePolicy":"expandAll"}`)
	defer configure("null")
	t.NoError(s.ApplyMachines(ctx, []byte(sized)))
	// expandedWith reports whether KubeVirt has expanded the instancetype, and a label is applied.
	expandedWith := func(label string) bool {
		vm := suite.KubeVirtObject("VirtualMachine", key)
		if err := s.Get(ctx, key, vm); err != nil {
			return false
		}
		_, named, _ := unstructured.NestedMap(vm.Object, "spec", "instancetype")
		memory, _, _ := unstructured.NestedString(vm.Object, "spec", "template", "spec", "domain", "memory", "guest")
		value, _, _ := unstructured.NestedString(vm.Object, "spec", "template", "metadata", "labels", "example.com/edit")
		return !named && memory == "256Mi" && value == label
	}
	ready := func() bool {
		m, err := s.Machine(ctx, key)
		t.NoError(err)
		for _, c := range m.Status.Conditions {
			if c.Type == "Ready" {
				return c.Status == "True" && c.ObservedGeneration == m.Generation
			}
		}
		return false
	}
	// KubeVirt reads its configuration with a watch, and handles the VirtualMachine only when
	// it changes: an annotation repeats this if the VirtualMachine was created before.
	attempt := 0
	t.Await(ctx, "KubeVirt to expand the instancetype", func() bool {
		if expandedWith("") {
			return true
		}
		attempt++
		patch := client.RawPatch(types.MergePatchType, []byte(fmt.Sprintf(`{"metadata":{"annotations":{"example.com/attempt":"%d"}}}`, attempt)))
		t.NoError(client.IgnoreNotFound(s.Patch(ctx, suite.KubeVirtObject("VirtualMachine", key), patch)))
		return false
	})
	t.Await(ctx, "the machine to be Ready", ready)
	edit := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"virtualMachine":{"template":{"metadata":{"labels":{"example.com/edit":"1"}}}}}}`))
	t.NoError(s.Patch(ctx, suite.Object("MeshedVirtualMachine", key), edit))
	t.Await(ctx, "the edit of the expanded machine", func() bool { return expandedWith("1") && ready() })
}
