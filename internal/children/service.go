// SPDX-License-Identifier: Apache-2.0

package children

import (
	"cmp"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
)

// service builds the Service, or nil for guests without ports, which
// Kubernetes does not support for Services with an address.
func service(in serviceInput) *corev1.Service {
	mvm := in.Lead()
	if len(mvm.Spec.Ports) == 0 {
		return nil
	}
	wanted := mvm.Spec.Service
	s := &corev1.Service{ObjectMeta: serviceMeta(in, in.Name)}
	maps.Copy(s.Labels, waypointLabels(mvm))
	addMetadata(&s.ObjectMeta, wanted.Labels, wanted.Annotations)
	s.SetGroupVersionKind(ServiceKind)
	s.Spec = corev1.ServiceSpec{
		Selector: podSelector(in),
		// The families are the cluster's families in the cluster's order.
		IPFamilyPolicy:           new(ipFamilyPolicy(wanted.IPFamilyPolicy)),
		ExternalTrafficPolicy:    wanted.ExternalTrafficPolicy,
		SessionAffinity:          wanted.SessionAffinity,
		LoadBalancerSourceRanges: wanted.LoadBalancerSourceRanges,
		PublishNotReadyAddresses: ptr.Deref(wanted.PublishNotReadyAddresses, false),
	}
	if wanted.InternalTrafficPolicy != "" {
		s.Spec.InternalTrafficPolicy = new(wanted.InternalTrafficPolicy)
	}
	if wanted.LoadBalancerClass != "" {
		s.Spec.LoadBalancerClass = new(wanted.LoadBalancerClass)
	}
	s.Spec.Type, s.Spec.ClusterIP = serviceType(wanted.Type)
	for _, p := range mvm.Spec.Ports {
		s.Spec.Ports = append(s.Spec.Ports, servicePort(p))
	}
	return s
}

func ipFamilyPolicy(p v1alpha1.ServiceIPFamilyPolicy) corev1.IPFamilyPolicy {
	return corev1.IPFamilyPolicy(cmp.Or(p, v1alpha1.ServiceIPFamilyPolicySingleStack))
}

func serviceType(t v1alpha1.ServiceType) (serviceType corev1.ServiceType, clusterIP string) {
	switch t {
	case v1alpha1.ServiceTypeHeadless:
		return corev1.ServiceTypeClusterIP, corev1.ClusterIPNone
	case v1alpha1.ServiceTypeLoadBalancer:
		return corev1.ServiceTypeLoadBalancer, ""
	case v1alpha1.ServiceTypeNodePort:
		return corev1.ServiceTypeNodePort, ""
	case v1alpha1.ServiceTypeClusterIP:
		return corev1.ServiceTypeClusterIP, ""
	default:
		return corev1.ServiceTypeClusterIP, ""
	}
}

func servicePort(p v1alpha1.Port) corev1.ServicePort {
	out := corev1.ServicePort{
		Name:       p.Name,
		Port:       p.Port,
		NodePort:   p.NodePort,
		TargetPort: intstr.FromInt32(p.TargetPortOrDefault()),
		Protocol:   corev1.Protocol(p.ProtocolOrDefault()),
	}
	if protocol := p.AppProtocolOrDefault(); protocol != "" {
		out.AppProtocol = new(protocol)
	}
	return out
}
