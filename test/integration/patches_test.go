// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/children"
)

// TestPatches adds a patch, replaces it by one that is refused, and removes it.
func TestPatches(t *testing.T) {
	s := start(t, func(o *controllers.Options) { o.Patches = configv1alpha1.Enabled })
	o := s.web()
	s.converge(o)
	set := func(text string) {
		s.Helper()
		s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.Patches = []v1alpha1.Patch{{Target: "Service", Merge: &runtime.RawExtension{Raw: []byte(text)}}}
		})
	}
	annotation := func(want string) {
		s.Helper()
		s.eventually(fmt.Sprintf("the annotation of the Service is %q", want), func() error {
			u, err := s.read(children.ServiceKind, o.Name)
			if err == nil && u.GetAnnotations()["example.com/a"] != want {
				raw, _ := json.Marshal(u.GetAnnotations())
				err = errors.New(string(raw))
			}
			return err
		})
	}
	set(`{"metadata": {"annotations": {"example.com/a": "b"}}}`)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPatched, yes, v1alpha1.ReasonApplied}, want{v1alpha1.ConditionServiceReady, yes, ""})
	annotation("b")

	set(`{"metadata": {"annotations": {"example.com/a": "c"}}, "spec": {"selector": {"app": "other"}}}`)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionPatched, no, v1alpha1.ReasonPatchRefused},
		want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonPatchRefused}, want{v1alpha1.ConditionReady, no, v1alpha1.ReasonPatchRefused})
	annotation("b")

	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Patches = nil })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionServiceReady, yes, ""})
	annotation("")
	s.eventually("the condition is removed", func() error {
		if meta.FindStatusCondition(s.mvm(o.Name).Status.Conditions, string(v1alpha1.ConditionPatched)) != nil {
			return errors.New("it exists")
		}
		return nil
	})

	s.restart()
	set(`{"metadata": {"annotations": {"example.com/a": "b"}}}`)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonPatchesDisabled})
}
