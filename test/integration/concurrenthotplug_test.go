// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestConcurrentHotplug writes many entries while a user edits the spec. The cache of
// the operator is older than some of these writes.
func TestConcurrentHotplug(t *testing.T) {
	s := start(t)
	o := s.stateful()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitVM(o.Name)
	const rounds = 20
	expected := []string{"root"}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := range rounds {
				before := s.mvm(o.Name)
				after := before.DeepCopy()
				name := fmt.Sprintf("own-%d", i)
				after.Spec.VirtualMachine.Template.Spec.Volumes = append(after.Spec.VirtualMachine.Template.Spec.Volumes, emptyDisk(name))
				if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	for i := range rounds {
		name := fmt.Sprintf("x-%d", i)
		s.eventually("the other client writes", func() error {
			before := &kubevirtv1.VirtualMachine{}
			if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), before); err != nil {
				return err
			}
			after := before.DeepCopy()
			after.Spec.Template.Spec.Volumes = append(after.Spec.Template.Spec.Volumes, hotplugged(name))
			return s.Patch(s.Context(), after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		})
		expected = append(expected, name, fmt.Sprintf("own-%d", i))
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	slices.Sort(expected)
	s.eventually("the VirtualMachine has the volumes of both", func() error {
		var got []string
		u, err := s.read(children.VirtualMachineKind, o.Name)
		if err != nil {
			return err
		}
		list, _ := nestedList(u.Object, "spec", "template", "spec", "volumes")
		for _, v := range list {
			name, _ := v["name"].(string)
			got = append(got, name)
		}
		slices.Sort(got)
		if d := cmp.Diff(expected, got); d != "" {
			return errors.New(d)
		}
		return nil
	})
}
