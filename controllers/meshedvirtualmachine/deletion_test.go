// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/internal/children"
)

// TestDeletionMessage checks what the deletion of an object waits for.
func TestDeletionMessage(t *testing.T) {
	const foreground = metav1.FinalizerDeleteDependents
	for name, tc := range map[string]struct {
		finalizers []string
		none       bool
		want       string
	}{
		"nothing":                       {nil, false, "the object is being deleted"},
		"foreground, nothing remains":   {[]string{foreground}, true, "the object is being deleted"},
		"foreground":                    {[]string{foreground}, false, "the object is being deleted and waits for the deletion of Service web, VirtualMachine web (finalizers kubevirt.io/finalize)"},
		"another finalizer":             {[]string{"example.com/hold"}, false, "the object is being deleted and waits for the controllers of its finalizers example.com/hold"},
		"foreground, another finalizer": {[]string{foreground, "example.com/hold"}, false, "the object is being deleted and waits for the deletion of Service web, VirtualMachine web (finalizers kubevirt.io/finalize) and for the controllers of its finalizers example.com/hold"},
	} {
		t.Run(name, func(t *testing.T) {
			s := world()
			service, vm := key(children.ServiceKind), key(children.VirtualMachineKind)
			for k := range s.children {
				if tc.none || k != service && k != vm {
					delete(s.children, k)
				}
			}
			if vm := s.children[vm]; vm != nil {
				vm.SetFinalizers([]string{"kubevirt.io/finalize"})
			}
			s.mvm.Finalizers = tc.finalizers
			if got := deletionMessage(s.mvm, s.children); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
