// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"
)

// probes adds a probe of each kind to the guest.
func probes(tcp, http int) func(*kubevirtv1.VirtualMachineSpec) {
	return func(s *kubevirtv1.VirtualMachineSpec) {
		s.Template.Spec.ReadinessProbe = &kubevirtv1.Probe{
			Handler: kubevirtv1.Handler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(tcp)}},
		}
		s.Template.Spec.LivenessProbe = &kubevirtv1.Probe{
			Handler: kubevirtv1.Handler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt(http)}},
		}
	}
}

// probedAt adds one probe to the guest.
func probedAt(port intstr.IntOrString, host string) func(*kubevirtv1.VirtualMachineSpec) {
	return func(s *kubevirtv1.VirtualMachineSpec) {
		s.Template.Spec.ReadinessProbe = &kubevirtv1.Probe{
			Handler: kubevirtv1.Handler{TCPSocket: &corev1.TCPSocketAction{Port: port, Host: host}},
		}
	}
}
