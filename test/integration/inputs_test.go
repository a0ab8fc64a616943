// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestGuestWithoutPorts brings a guest without ports to Ready, gives it a port, and
// removes the port again.
func TestGuestWithoutPorts(t *testing.T) {
	s := start(t)
	o := s.web()
	port := o.Spec.Ports[0]
	o.Spec.Ports = nil
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	served := func(want bool) func() error {
		return func() error {
			for _, kind := range singletons[:3] {
				switch _, err := s.read(kind, o.Name); {
				case want && err != nil:
					return err
				case !want && err == nil:
					return errors.New("found a " + kind.Kind)
				case !want && !apierrors.IsNotFound(err):
					return err
				}
			}
			return nil
		}
	}
	if err := served(false)(); err != nil {
		t.Error(err)
	}
	if a := s.mvm(o.Name).Status.Addresses; len(a) > 0 {
		t.Errorf("addresses %v of a guest without a Service", a)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports = []v1alpha1.Port{port} })
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.eventually("the Service and its routes exist", served(true))
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports = nil })
	s.eventually("the Service and its routes are deleted", served(false))
}

// TestSettingsOfTheService applies every setting of the Service once, and changes
// and removes settings.
func TestSettingsOfTheService(t *testing.T) {
	s := start(t)
	o := s.web()
	o.Spec.Service = v1alpha1.ServiceSpec{
		Type: v1alpha1.ServiceTypeLoadBalancer, LoadBalancerClass: "example.com/lb", LoadBalancerSourceRanges: []string{"192.0.2.0/24"},
		ExternalTrafficPolicy: "Local", InternalTrafficPolicy: "Local", SessionAffinity: "ClientIP", PublishNotReadyAddresses: new(true),
		Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"example.com/dns": "web"},
	}
	o.Spec.VirtualMachineMetadata = v1alpha1.ObjectMetadata{
		Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"backup.example.com/keep": "7d"},
	}
	o.Spec.Ports = append(o.Spec.Ports, v1alpha1.Port{Name: "http-alt", Port: 8080, AppProtocol: "http"})
	s.converge(o)
	read := func() *corev1.Service {
		svc := &corev1.Service{}
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), svc); err != nil {
			t.Fatal(err)
		}
		return svc
	}
	svc := read()
	if svc.Spec.ExternalTrafficPolicy != "Local" || *svc.Spec.InternalTrafficPolicy != "Local" || svc.Spec.SessionAffinity != "ClientIP" ||
		*svc.Spec.LoadBalancerClass != "example.com/lb" || len(svc.Spec.LoadBalancerSourceRanges) != 1 || !svc.Spec.PublishNotReadyAddresses ||
		svc.Labels["team"] != "a" || svc.Annotations["example.com/dns"] != "web" || len(svc.Spec.Ports) != 4 {
		t.Errorf("the Service does not have the settings: %+v", svc)
	}
	vm, err := s.read(children.VirtualMachineKind, o.Name)
	if err != nil {
		t.Fatal(err)
	}
	if vm.GetLabels()["team"] != "a" || vm.GetAnnotations()["backup.example.com/keep"] != "7d" {
		t.Errorf("the VirtualMachine does not have the metadata: %v, %v", vm.GetLabels(), vm.GetAnnotations())
	}
	s.quiet()
	if again := read(); again.ResourceVersion != svc.ResourceVersion {
		t.Errorf("the Service was written again: %s, %s", svc.ResourceVersion, again.ResourceVersion)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Service = v1alpha1.ServiceSpec{Type: v1alpha1.ServiceTypeNodePort, Labels: map[string]string{"team": "b"}}
		spec.Ports[1].NodePort = 30022
	})
	s.eventually("the Service has the new settings", func() error {
		svc := read()
		switch {
		case svc.Spec.Type != corev1.ServiceTypeNodePort, svc.Spec.Ports[1].NodePort != 30022, svc.Spec.SessionAffinity == "ClientIP",
			svc.Spec.PublishNotReadyAddresses, svc.Labels["team"] != "b", svc.Annotations["example.com/dns"] != "":
			return errors.New(svc.String())
		}
		return nil
	})
}
