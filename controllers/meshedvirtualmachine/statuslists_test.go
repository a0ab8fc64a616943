// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

// control makes the object the controller of its Service.
func control(s *scope) {
	s.children[key(children.ServiceKind)].SetOwnerReferences([]metav1.OwnerReference{{UID: s.mvm.UID, Controller: new(true)}})
}

// ingress sets the addresses of the Service's load balancer.
func ingress(points ...any) func(*scope) {
	return func(s *scope) {
		control(s)
		service := s.children[key(children.ServiceKind)]
		if err := unstructured.SetNestedSlice(service.Object, points, "status", "loadBalancer", "ingress"); err != nil {
			panic(err)
		}
	}
}

// TestAddresses checks that only addresses of the object's own Service are reported.
func TestAddresses(t *testing.T) {
	name := v1alpha1.Address{Type: v1alpha1.AddressTypeHostname, Value: "web.shop.svc.cluster.local"}
	var many []any
	for i := range 20 {
		many = append(many, map[string]any{"ip": fmt.Sprintf("192.0.2.%d", i)})
	}
	for label, tc := range map[string]struct {
		mod    func(*scope)
		want   []v1alpha1.Address
		length int
	}{
		"controlled":        {mod: control, want: []v1alpha1.Address{name}},
		"another owner":     {mod: func(*scope) {}},
		"no Service":        {mod: func(s *scope) { delete(s.children, key(children.ServiceKind)) }},
		"load balancer, IP": {mod: ingress(map[string]any{"ip": "192.0.2.7"}), want: []v1alpha1.Address{name, {Type: v1alpha1.AddressTypeIPAddress, Value: "192.0.2.7"}}},
		"load balancer, name": {
			mod:  ingress(map[string]any{"hostname": "lb.example.com"}),
			want: []v1alpha1.Address{name, {Type: v1alpha1.AddressTypeHostname, Value: "lb.example.com"}},
		},
		"more than fit": {mod: ingress(many...), length: maxAddresses},
	} {
		t.Run(label, func(t *testing.T) {
			s := world(tc.mod)
			s.writeStatus()
			got := s.mvm.Status.Addresses
			if tc.length > 0 {
				if len(got) != tc.length {
					t.Errorf("%d addresses, want %d", len(got), tc.length)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" && len(got)+len(tc.want) > 0 {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLongLists checks that lists which the API server would reject are truncated, and
// that the status contains the number of the omitted elements.
func TestLongLists(t *testing.T) {
	s := world(func(s *scope) {
		s.podsKnown = true
		for i := range 40 {
			pod := builders.LauncherPod(s.vmi, fmt.Sprint(i)).UID(types.UID(fmt.Sprint(i))).Node("node-a").Obj()
			s.pods = append(s.pods, *pod)
		}
		for i := range 150 {
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(children.PodNATConfigurationKind)
			u.SetName(fmt.Sprint(i))
			u.SetOwnerReferences([]metav1.OwnerReference{{UID: s.mvm.UID, Controller: new(true)}})
			s.children[apply.KeyOf(u)] = u
		}
	})
	s.writeStatus()
	st := s.mvm.Status
	if len(st.Pods) != 32 || st.OmittedPods != 9 {
		t.Errorf("%d pods and %d omitted, want 32 and 9", len(st.Pods), st.OmittedPods)
	}
	if len(st.RelatedObjects) != 128 || st.OmittedRelatedObjects != 22 {
		t.Errorf("%d related objects and %d omitted, want 128 and 22", len(st.RelatedObjects), st.OmittedRelatedObjects)
	}
}
