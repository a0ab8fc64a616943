// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAddresses gives the Service of an object an address of a load balancer, and
// creates an object whose Service has another owner.
func TestAddresses(t *testing.T) {
	s := start(t)
	await := func(name string, want ...v1alpha1.Address) {
		t.Helper()
		s.eventually(fmt.Sprintf("the addresses are %v", want), func() error {
			if got := s.mvm(name).Status.Addresses; !slices.Equal(got, want) {
				return fmt.Errorf("they are %v", got)
			}
			return nil
		})
	}
	o := s.web()
	o.Spec.Service.Type = v1alpha1.ServiceTypeLoadBalancer
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	host := v1alpha1.Address{Type: v1alpha1.AddressTypeHostname, Value: "web." + s.namespace + ".svc.cluster.local"}
	await(o.Name, host)

	before := &corev1.Service{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), before); err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	after.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}, {Hostname: "lb.example.com"}}
	if err := s.Status().Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	await(o.Name, host,
		v1alpha1.Address{Type: v1alpha1.AddressTypeIPAddress, Value: "192.0.2.7"},
		v1alpha1.Address{Type: v1alpha1.AddressTypeHostname, Value: "lb.example.com"})

	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "db"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := s.Create(s.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	db := s.web()
	db.Name = "db"
	if err := s.Create(s.Context(), db); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(db.Name, want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonConflict})
	await(db.Name)
}
