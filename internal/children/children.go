// SPDX-License-Identifier: Apache-2.0

// Package children builds the desired objects of a MeshedVirtualMachine. It is
// pure: one function for each kind turns the input into the desired objects. The
// table in kinds.go lists the kinds.
package children

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshservice"
)

// Object is a Kubernetes object. (It has the methods of controller-runtime's
// client.Object, which this package does not import.)
type Object interface {
	metav1.Object
	runtime.Object
}

// Input contains everything that the desired objects depend on.
type Input struct {
	// MVM is the MeshedVirtualMachine.
	MVM *v1alpha1.MeshedVirtualMachine
	// VMI is its VirtualMachineInstance, or nil if none exists.
	VMI *kubevirtv1.VirtualMachineInstance
	// LauncherPods are the live virt-launcher pods, oldest first.
	LauncherPods []corev1.Pod
	// Service is the Service with all of its members, of which MVM is one. Defaults to
	// a Service of MVM alone.
	Service *meshservice.Service
	// StartGate specifies how the operator delays the start of guests. Defaults to
	// StartGateContainer.
	StartGate StartGate
	// ClusterDomain is the DNS domain of the cluster. Defaults to
	// v1alpha1.DefaultClusterDomain.
	ClusterDomain string
	// RootNamespace is Istio's root namespace. Defaults to
	// meshpolicy.DefaultRootNamespace.
	RootNamespace string
	// MutualTLS returns the mutual TLS mode that Istio's policies request for a port of
	// a pod with these labels. It is nil if the policies are not known.
	MutualTLS func(labels map[string]string, port int32) v1alpha1.MTLSMode
	// LastAccepted, if set, is the configuration whose ports and exclusions are
	// used for the pods instead of those of MVM. It contains the rules of the last
	// accepted spec and is set while the spec of MVM is not accepted.
	LastAccepted *v1alpha1.PodNATConfigurationSpec
}

// service returns the input of the objects of the Service.
func (in Input) service() serviceInput {
	if in.Service != nil {
		return serviceInput{Service: *in.Service, clusterDomain: in.ClusterDomain}
	}
	return serviceInput{Service: meshservice.Alone(in.MVM, in.LauncherPods), clusterDomain: in.ClusterDomain}
}

// serviceInput contains everything that the objects of a Service depend on. Their settings
// are those of the lead.
type serviceInput struct {
	meshservice.Service
	clusterDomain string
}

// host is the name of the Service in Istio's objects.
func (in serviceInput) host() string { return in.Lead().ServiceFQDN(in.clusterDomain) }

// pods returns the live pods of all members.
func (in serviceInput) pods() []corev1.Pod {
	var out []corev1.Pod
	for _, m := range in.Members {
		out = append(out, m.Pods...)
	}
	return out
}

// StartGate is a method of delaying the start of a guest until its rules are
// verified.
type StartGate string

const (
	// StartGateContainer delays the guest with a container that the operator's
	// webhook adds to its pod. It also delays a live migration.
	StartGateContainer StartGate = "Container"
	// StartGatePause delays the guest with KubeVirt's start strategy Paused. It
	// does not require a webhook, does not delay a live migration, and delays
	// every start by ten seconds in a boot menu.
	StartGatePause StartGate = "Pause"
)
