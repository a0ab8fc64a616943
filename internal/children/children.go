// SPDX-License-Identifier: Apache-2.0

// Package children makes the objects that a MeshedVirtualMachine consists of.
// It is pure: one function for each kind turns the input into the object that
// is wanted, or nil when none is.
package children

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/natplan"
)

// Object is a Kubernetes object. (It has the methods of controller-runtime's
// client.Object, which this package does not import.)
type Object interface {
	metav1.Object
	runtime.Object
}

// Input is everything that the wanted objects depend on.
type Input struct {
	// MVM is the MeshedVirtualMachine.
	MVM *v1alpha1.MeshedVirtualMachine
	// VMI is its VirtualMachineInstance, nil while there is none.
	VMI *kubevirtv1.VirtualMachineInstance
	// LauncherPods are the live virt-launcher pods, oldest first.
	LauncherPods []corev1.Pod
	// StartGate is how the operator holds back guests whose spec asks for it;
	// StartGateContainer when empty.
	StartGate StartGate
	// Like, when set, is the configuration whose ports and exclusions the pods
	// get in place of MVM's: that of the spec before, while MVM's is refused.
	Like *v1alpha1.PodNATConfigurationSpec
}

// StartGate is a way to hold back a guest until its rules were verified.
type StartGate string

const (
	// StartGateContainer is by a container of the guest's pod, which the
	// operator's webhook adds. It holds a live migration too.
	StartGateContainer StartGate = "Container"
	// StartGatePause is by KubeVirt, which starts the guest paused. It needs no
	// webhook, holds no live migration, and costs the ten seconds of a boot
	// menu that KubeVirt shows then.
	StartGatePause StartGate = "Pause"
)

// Upstream is the project that serves a kind.
type Upstream string

const (
	// UpstreamKubernetes serves the core kinds.
	UpstreamKubernetes Upstream = "Kubernetes"
	// UpstreamKubeVirt serves VirtualMachine.
	UpstreamKubeVirt Upstream = "KubeVirt"
	// UpstreamIstio serves the mesh's kinds.
	UpstreamIstio Upstream = "Istio"
	// UpstreamMeshVM serves this project's own kinds.
	UpstreamMeshVM Upstream = "meshvm"
)

// Kind is a kind of which Desired can make objects.
type Kind struct {
	schema.GroupVersionKind
	// Upstream serves the kind.
	Upstream Upstream
}

// Kinds of the objects that Desired makes.
var (
	ServiceKind             = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	DestinationRuleKind     = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"}
	VirtualServiceKind      = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}
	PeerAuthenticationKind  = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}
	VirtualMachineKind      = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachine"}
	PodNATConfigurationKind = v1alpha1.GroupVersion.WithKind("PodNATConfiguration")
)

// KindsWithUpstream lists every kind that Desired can make, in its order, with
// the project that serves it.
func KindsWithUpstream() []Kind {
	return []Kind{
		{ServiceKind, UpstreamKubernetes},
		{DestinationRuleKind, UpstreamIstio},
		{VirtualServiceKind, UpstreamIstio},
		{PeerAuthenticationKind, UpstreamIstio},
		{VirtualMachineKind, UpstreamKubeVirt},
		{PodNATConfigurationKind, UpstreamMeshVM},
	}
}

// Kinds lists every kind that Desired can make, in its order.
func Kinds() []schema.GroupVersionKind {
	all := KindsWithUpstream()
	kinds := make([]schema.GroupVersionKind, 0, len(all))
	for _, k := range all {
		kinds = append(kinds, k.GroupVersionKind)
	}
	return kinds
}

// Prunable lists the kinds of which there can be objects that are no longer
// wanted. A VirtualMachine has the name of its MeshedVirtualMachine and goes with
// it, by its owner reference: the operator needs no right to delete machines.
func Prunable() []schema.GroupVersionKind {
	return slices.DeleteFunc(Kinds(), func(k schema.GroupVersionKind) bool { return k == VirtualMachineKind })
}

// Desired returns the wanted objects in the order in which to apply them: the
// Service and the mesh's policy before the guest, because Istio's sidecar is
// not Ready until a Service selects its pod, and because policy has to be in
// place before traffic. It refuses what natplan.CheckSpec refuses.
func Desired(in Input) ([]Object, error) {
	if err := natplan.CheckSpec(in.MVM); err != nil {
		return nil, err
	}
	objects := []Object{service(in), destinationRule(in)}
	if vs := virtualService(in); vs != nil {
		objects = append(objects, vs)
	}
	vm, err := virtualMachine(in)
	if err != nil {
		return nil, err
	}
	objects = append(objects, peerAuthentication(in), vm)
	return append(objects, PodNATConfigurations(in)...), nil
}

// PodNATConfigurations returns those of the live pods whose rules can be
// planned. A pod that starts while the spec is refused needs rules too: those of
// Like.
func PodNATConfigurations(in Input) []Object {
	var objects []Object
	for i := range in.LauncherPods {
		if c := podNATConfiguration(in, &in.LauncherPods[i]); c != nil {
			objects = append(objects, c)
		}
	}
	return objects
}
