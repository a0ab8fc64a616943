// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// VMIBuilder builds a VirtualMachineInstance.
type VMIBuilder struct {
	vmi kubevirtv1.VirtualMachineInstance
}

// VMI returns a builder of a running VirtualMachineInstance as virt-controller
// creates it from the VirtualMachine of a MeshedVirtualMachine, including its
// interface.
func VMI(name string) *VMIBuilder {
	return &VMIBuilder{kubevirtv1.VirtualMachineInstance{
		TypeMeta: metav1.TypeMeta{APIVersion: kubevirtv1.GroupVersion.String(), Kind: "VirtualMachineInstance"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: DefaultNamespace, UID: UID("vmi", name), CreationTimestamp: Epoch,
			Labels: map[string]string{
				v1alpha1.LabelManagedBy:            v1alpha1.ManagedByValue,
				v1alpha1.LabelMeshedVirtualMachine: name,
				v1alpha1.LabelService:              name,
				v1alpha1.LabelApp:                  name,
				v1alpha1.LabelVersion:              "v1",
				v1alpha1.LabelSidecarInject:        "true",
			},
			Annotations: map[string]string{v1alpha1.LabelSidecarInject: "true"},
		},
		Spec: kubevirtv1.VirtualMachineInstanceSpec{
			Domain: kubevirtv1.DomainSpec{Devices: kubevirtv1.Devices{
				Interfaces: []kubevirtv1.Interface{*kubevirtv1.DefaultMasqueradeNetworkInterface()},
			}},
			Networks: []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()},
		},
		Status: kubevirtv1.VirtualMachineInstanceStatus{Phase: kubevirtv1.Running},
	}}
}

// Obj returns a copy of the object.
func (b *VMIBuilder) Obj() *kubevirtv1.VirtualMachineInstance { return b.vmi.DeepCopy() }

// Namespace sets the namespace.
func (b *VMIBuilder) Namespace(ns string) *VMIBuilder { b.vmi.Namespace = ns; return b }

// UID sets the UID. An object to be created must have an empty UID.
func (b *VMIBuilder) UID(uid types.UID) *VMIBuilder { b.vmi.UID = uid; return b }

// Phase sets the phase.
func (b *VMIBuilder) Phase(p kubevirtv1.VirtualMachineInstancePhase) *VMIBuilder {
	b.vmi.Status.Phase = p
	return b
}

// Node sets the node.
func (b *VMIBuilder) Node(name string) *VMIBuilder { b.vmi.Status.NodeName = name; return b }

// Interfaces replaces interfaces and networks.
func (b *VMIBuilder) Interfaces(interfaces []kubevirtv1.Interface, networks []kubevirtv1.Network) *VMIBuilder {
	b.vmi.Spec.Domain.Devices.Interfaces, b.vmi.Spec.Networks = interfaces, networks
	return b
}

// NetworkCIDR sets the guest's network behind the masquerade binding.
func (b *VMIBuilder) NetworkCIDR(cidr string) *VMIBuilder {
	b.vmi.Spec.Networks[0].Pod.VMNetworkCIDR = cidr
	return b
}

// NetworkIPv6CIDR sets the guest's IPv6 network behind the masquerade binding.
func (b *VMIBuilder) NetworkIPv6CIDR(cidr string) *VMIBuilder {
	b.vmi.Spec.Networks[0].Pod.VMIPv6NetworkCIDR = cidr
	return b
}

// PodInterface sets the reported name of the pod's interface of a network.
func (b *VMIBuilder) PodInterface(network, name string) *VMIBuilder {
	b.vmi.Status.Interfaces = append(b.vmi.Status.Interfaces, kubevirtv1.VirtualMachineInstanceNetworkInterface{
		Name: network, PodInterfaceName: name,
	})
	return b
}

// Condition adds a condition.
func (b *VMIBuilder) Condition(t kubevirtv1.VirtualMachineInstanceConditionType, ok bool) *VMIBuilder {
	b.vmi.Status.Conditions = append(b.vmi.Status.Conditions, kubevirtv1.VirtualMachineInstanceCondition{
		Type: t, Status: conditionStatus(ok), LastTransitionTime: Epoch,
	})
	return b
}

// PodBuilder builds a Pod.
type PodBuilder struct{ pod corev1.Pod }

// LauncherPod returns a builder of a running virt-launcher pod of a VMI, as
// virt-controller creates it. The name of the pod is virt-launcher-VMI-SUFFIX.
func LauncherPod(vmi *kubevirtv1.VirtualMachineInstance, suffix string) *PodBuilder {
	name := "virt-launcher-" + vmi.Name + "-" + suffix
	labels := map[string]string{}
	maps.Copy(labels, vmi.Labels)
	labels[kubevirtv1.AppLabel] = "virt-launcher"
	labels[kubevirtv1.CreatedByLabel] = string(vmi.UID)
	labels[kubevirtv1.DeprecatedVirtualMachineNameLabel] = vmi.Name
	labels[kubevirtv1.VirtualMachineInstanceIDLabel] = vmi.Name
	b := &PodBuilder{corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: vmi.Namespace, UID: UID("pod", name), Labels: labels, CreationTimestamp: Epoch,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: kubevirtv1.GroupVersion.String(), Kind: "VirtualMachineInstance", Name: vmi.Name, UID: vmi.UID,
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:   vmi.Status.NodeName,
			Containers: []corev1.Container{{Name: "compute", Image: "example.invalid/virt-launcher:test"}},
			// A native sidecar, as Istio's injector adds it.
			InitContainers: []corev1.Container{{Name: "istio-proxy", Image: "example.invalid/proxyv2:test"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}}
	return b.Condition(corev1.PodReadyToStartContainers, true)
}

// Ambient enrolls the pod in ambient mode. redirection is the value of
// istio-cni's annotation, or empty for no annotation.
func (b *PodBuilder) Ambient(redirection string, dnsCapture bool) *PodBuilder {
	b.pod.Spec.InitContainers = nil
	b.pod.Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
	b.pod.Labels[v1alpha1.LabelSidecarInject] = "false"
	b.pod.Annotations = map[string]string{v1alpha1.AnnotationAmbientDNSCapture: strconv.FormatBool(dnsCapture)}
	if redirection != "" {
		b.pod.Annotations[v1alpha1.AnnotationAmbientRedirection] = redirection
	}
	return b
}

// Obj returns a copy of the object.
func (b *PodBuilder) Obj() *corev1.Pod { return b.pod.DeepCopy() }

// Node sets the node.
func (b *PodBuilder) Node(name string) *PodBuilder { b.pod.Spec.NodeName = name; return b }

// UID sets the UID. An object to be created must have an empty UID.
func (b *PodBuilder) UID(uid types.UID) *PodBuilder { b.pod.UID = uid; return b }

// IP adds an address of the pod.
func (b *PodBuilder) IP(ip string) *PodBuilder {
	s := &b.pod.Status
	s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	s.PodIP = s.PodIPs[0].IP
	return b
}

// Phase sets the phase.
func (b *PodBuilder) Phase(p corev1.PodPhase) *PodBuilder { b.pod.Status.Phase = p; return b }

// Label sets a label.
func (b *PodBuilder) Label(key, value string) *PodBuilder {
	b.pod.Labels = with(b.pod.Labels, key, value)
	return b
}

// Gate adds the start gate container. open reports whether the container has
// exited, after which the guest's container runs.
func (b *PodBuilder) Gate(open bool) *PodBuilder {
	b.pod.Spec.InitContainers = append(b.pod.Spec.InitContainers, corev1.Container{
		Name: "meshvm-gate", Image: "example.invalid/rule-writer:test",
	})
	status := corev1.ContainerStatus{Name: "meshvm-gate"}
	b.pod.Status.Phase = corev1.PodPending
	if open {
		status.State.Terminated = &corev1.ContainerStateTerminated{}
		b.pod.Status.Phase = corev1.PodRunning
	}
	b.pod.Status.InitContainerStatuses = []corev1.ContainerStatus{status}
	return b
}

// Age sets the time between Epoch and the creation of the pod.
func (b *PodBuilder) Age(sinceEpoch time.Duration) *PodBuilder {
	b.pod.CreationTimestamp = metav1.NewTime(Epoch.Add(sinceEpoch))
	return b
}

// Condition sets a condition.
func (b *PodBuilder) Condition(t corev1.PodConditionType, ok bool) *PodBuilder {
	s := &b.pod.Status
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			s.Conditions[i].Status = conditionStatus(ok)
			return b
		}
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{Type: t, Status: conditionStatus(ok), LastTransitionTime: Epoch})
	return b
}

// MigrationTarget marks the pod as the target of a migration.
func (b *PodBuilder) MigrationTarget(migration types.UID) *PodBuilder {
	return b.Label(kubevirtv1.MigrationJobLabel, string(migration))
}
