// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// TestDeletionMessage checks what the deletion of an object waits for.
func TestDeletionMessage(t *testing.T) {
	const foreground = metav1.FinalizerDeleteDependents
	for name, tc := range map[string]struct {
		finalizers []string
		none       bool
		waits      []string
		want       string
	}{
		"nothing":                       {nil, false, nil, "the object is being deleted"},
		"foreground, nothing remains":   {[]string{foreground}, true, nil, "the object is being deleted"},
		"foreground":                    {[]string{foreground}, false, nil, "the object is being deleted and waits for the deletion of Service web, VirtualMachine web (finalizers kubevirt.io/finalize)"},
		"another finalizer":             {[]string{"example.com/hold"}, false, nil, "the object is being deleted and waits for the controllers of its finalizers example.com/hold"},
		"foreground, another finalizer": {[]string{foreground, "example.com/hold"}, false, nil, "the object is being deleted and waits for the deletion of Service web, VirtualMachine web (finalizers kubevirt.io/finalize) and for the controllers of its finalizers example.com/hold"},
		"a machine that remains":        {[]string{foreground, v1alpha1.FinalizerOrphan}, false, []string{"the removal of the rules"}, "the object is being deleted and waits for the removal of the rules and for the deletion of Service web"},
		"a machine that was released":   {[]string{v1alpha1.FinalizerOrphan}, false, nil, "the object is being deleted"},
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
				vm.SetFinalizers([]string{"kubevirt.io/finalize", foreground})
			}
			s.mvm.Finalizers, s.mvm.DeletionTimestamp = tc.finalizers, new(metav1.Now())
			if got := deletionMessage(s.mvm, s.children, tc.waits); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestTerminatingStatus deletes an object whose status claims that everything works, and
// checks that the status claims nothing that the operator does not check any more.
func TestTerminatingStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		mod       func(*scope)
		want      []string
		addresses int
		related   []string
	}{
		"only the VirtualMachine remains": {mod: func(*scope) {}, related: []string{"VirtualMachine"}},
		"another finalizer, and the Service exists": {
			mod:       func(s *scope) { s.children[key(children.ServiceKind)] = ownedBy(s.mvm, children.ServiceKind) },
			addresses: 1, related: []string{"Service", "VirtualMachine"},
		},
		"the children cannot be listed":   {mod: func(s *scope) { s.children = nil }},
		"deleted before the first status": {mod: func(s *scope) { s.mvm.Status.MTLS = v1alpha1.MTLSStatus{} }, related: []string{"VirtualMachine"}},
		"paused": {
			mod:  func(s *scope) { s.mvm.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"} },
			want: []string{"Paused=True/Paused/2"}, related: []string{"VirtualMachine"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(func(s *scope) { s.podsKnown = true })
			s.writeStatus()
			st := &s.mvm.Status
			st.MTLS.EffectiveMode = v1alpha1.MTLSModeStrict
			st.Conditions = conditions.Merge(st.Conditions, 1, append(s.conditions(),
				conditions.True(v1alpha1.ConditionReconciling, v1alpha1.ReasonProgressing, ""),
				conditions.True(v1alpha1.ConditionStalled, v1alpha1.ReasonConflict, ""),
				conditions.True(v1alpha1.ConditionConflicted, v1alpha1.ReasonConflict, ""))...)
			if len(st.Pods) == 0 {
				t.Fatal("the status has no pods before the deletion")
			}
			s.mvm.Generation = 2
			vm := key(children.VirtualMachineKind)
			s.children = map[apply.Key]*unstructured.Unstructured{vm: ownedBy(s.mvm, children.VirtualMachineKind)}
			tc.mod(s)

			s.writeDeletion()

			var got, related []string
			for _, c := range st.Conditions {
				got = append(got, fmt.Sprintf("%s=%s/%s/%d", c.Type, c.Status, c.Reason, c.ObservedGeneration))
			}
			want := append([]string{
				"Ready=False/Terminating/2", "Accepted=Unknown/Pending/2", "DependenciesAvailable=Unknown/Pending/2",
				"ServiceReady=Unknown/Pending/2", "MeshPolicyApplied=Unknown/Pending/2", "MeshPolicyEffective=Unknown/Pending/2",
				"VirtualMachineReady=Unknown/Pending/2", "NATProgrammed=Unknown/Pending/2",
			}, tc.want...)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			for _, o := range st.RelatedObjects {
				related = append(related, o.Kind)
			}
			if diff := cmp.Diff(tc.related, related); diff != "" {
				t.Errorf("related objects (-want +got):\n%s", diff)
			}
			if st.MTLS.DeclaredMode != v1alpha1.MTLSModeStrict || st.MTLS.EffectiveMode != v1alpha1.MTLSModeDisable || len(st.Addresses) != tc.addresses || len(st.Pods) != 0 || st.ObservedGeneration != 2 {
				t.Errorf("mTLS %v, addresses %v, pods %v, generation %d, want Strict declared and Disable effective, %d addresses, no pods, generation 2",
					st.MTLS, st.Addresses, st.Pods, st.ObservedGeneration, tc.addresses)
			}
		})
	}
}

// ownedBy returns a child that the object controls.
func ownedBy(mvm *v1alpha1.MeshedVirtualMachine, kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	u.SetName(mvm.Name)
	u.SetOwnerReferences([]metav1.OwnerReference{{UID: mvm.UID, Controller: new(true)}})
	return u
}
