// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
)

// PodNATBuilder builds a PodNATConfiguration.
type PodNATBuilder struct{ config v1alpha1.PodNATConfiguration }

// PodNAT returns a builder of the PodNATConfiguration of a pod with one mesh
// port.
func PodNAT(name string, pod *corev1.Pod) *PodNATBuilder {
	return &PodNATBuilder{v1alpha1.PodNATConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PodNATConfiguration"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: pod.Namespace, UID: UID("podnat", name), Generation: 1,
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue},
		},
		Spec: v1alpha1.PodNATConfigurationSpec{
			Pod:        v1alpha1.PodTarget{Name: pod.Name, UID: pod.UID},
			Interfaces: v1alpha1.PodInterfaces{Pod: "eth0", Bridge: "k6t-eth0"},
			Families: []v1alpha1.AddressFamily{{
				Family: v1alpha1.IPFamilyIPv4, Guest: "10.0.2.2", Gateway: "10.0.2.1",
			}},
			Proxy: v1alpha1.ProxyPorts{
				InboundPort: validate.ProxyInboundPort, OutboundPort: validate.ProxyOutboundPort,
				LocalPorts: slices.Clone(validate.ProxyLocalPorts),
			},
			Inbound: v1alpha1.InboundRules{Mesh: []int32{8080}},
		},
	}}
}

// Obj returns a copy of the object.
func (b *PodNATBuilder) Obj() *v1alpha1.PodNATConfiguration { return b.config.DeepCopy() }

// UID sets the UID. An object to be created must have an empty UID.
func (b *PodNATBuilder) UID(uid types.UID) *PodNATBuilder { b.config.UID = uid; return b }

// Spec changes the spec.
func (b *PodNATBuilder) Spec(change func(*v1alpha1.PodNATConfigurationSpec)) *PodNATBuilder {
	change(&b.config.Spec)
	return b
}

// Node returns a node with the given Ready condition.
func Node(name string, ready bool) *corev1.Node {
	return &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: conditionStatus(ready), LastTransitionTime: Epoch,
		}}},
	}
}
