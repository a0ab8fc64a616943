// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Upstream is the project that defines a kind.
type Upstream string

const (
	// UpstreamKubernetes defines the core kinds.
	UpstreamKubernetes Upstream = "Kubernetes"
	// UpstreamKubeVirt defines VirtualMachine.
	UpstreamKubeVirt Upstream = "KubeVirt"
	// UpstreamIstio defines the mesh's kinds.
	UpstreamIstio Upstream = "Istio"
	// UpstreamMeshVM defines this project's kinds.
	UpstreamMeshVM Upstream = "meshvm"
)

// Scope is what objects of a kind belong to.
type Scope string

const (
	// ScopeService is the scope of objects that several MeshedVirtualMachines can share.
	// They have the name of the Service, and the lead of the Service controls them.
	ScopeService Scope = "Service"
	// ScopeGuest is the scope of objects of one MeshedVirtualMachine.
	ScopeGuest Scope = "Guest"
)

// Kind is a kind of child objects.
type Kind struct {
	schema.GroupVersionKind
	// Upstream is the project that defines the kind. The operator starts
	// without KubeVirt's and Istio's kinds and waits for them.
	Upstream Upstream
	// Scope is the owner of the objects of the kind.
	Scope Scope
	// Condition is the condition of a MeshedVirtualMachine that reports whether
	// the objects of the kind match the desired state.
	Condition v1alpha1.ConditionType
	// Retained is set if objects of the kind are never pruned. They are deleted
	// with their MeshedVirtualMachine through the owner reference, so the operator
	// does not need the permission to delete them.
	Retained bool
	// Optional is set if a guest has objects of the kind only if its spec requests
	// them. The operator works without such a kind until a spec needs it.
	Optional bool
	// build returns the desired objects, each with its kind set.
	build func(Input) ([]Object, error)
}

// Kinds of child objects that other code refers to by name.
var (
	ServiceKind               = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	DestinationRuleKind       = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "DestinationRule"}
	VirtualServiceKind        = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "VirtualService"}
	PeerAuthenticationKind    = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "PeerAuthentication"}
	AuthorizationPolicyKind   = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"}
	EnvoyFilterKind           = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilter"}
	RequestAuthenticationKind = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "RequestAuthentication"}
	VirtualMachineKind        = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachine"}
	PodNATConfigurationKind   = v1alpha1.GroupVersion.WithKind("PodNATConfiguration")
	SidecarKind               = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "Sidecar"}
	ServiceEntryKind          = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "ServiceEntry"}
	TelemetryKind             = schema.GroupVersionKind{Group: "telemetry.istio.io", Version: "v1", Kind: "Telemetry"}
)

// kinds is the table of child kinds, in the order in which objects are applied.
// The Service and the mesh policy precede the guest, because Istio's sidecar is
// not ready until a Service selects its pod, and because the policy must be
// applied before traffic flows. Conditions, pruning, watches, the tests of RBAC
// permissions and the documentation follow from this table.
var kinds = []Kind{
	{ServiceKind, UpstreamKubernetes, ScopeService, v1alpha1.ConditionServiceReady, false, false, ofService(service)},
	{DestinationRuleKind, UpstreamIstio, ScopeService, v1alpha1.ConditionMeshPolicyApplied, false, false, ofService(destinationRule)},
	{VirtualServiceKind, UpstreamIstio, ScopeService, v1alpha1.ConditionMeshPolicyApplied, false, false, virtualServices},
	{PeerAuthenticationKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, false, one(peerAuthentication)},
	{AuthorizationPolicyKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, authorizationPolicies},
	{EnvoyFilterKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, envoyFilter},
	{RequestAuthenticationKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, one(requestAuthentication)},
	{ServiceEntryKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, serviceEntries},
	{SidecarKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, one(sidecar)},
	{TelemetryKind, UpstreamIstio, ScopeGuest, v1alpha1.ConditionMeshPolicyApplied, false, true, one(telemetry)},
	{VirtualMachineKind, UpstreamKubeVirt, ScopeGuest, v1alpha1.ConditionVirtualMachineReady, true, false, virtualMachines},
	{PodNATConfigurationKind, UpstreamMeshVM, ScopeGuest, v1alpha1.ConditionNATProgrammed, false, false, podNATConfigurations},
}

// objectOf is a pointer to a type whose pointers are objects.
type objectOf[T any] interface {
	*T
	Object
}

// one adapts a function that returns one object or nil.
func one[T any, P objectOf[T]](build func(Input) P) func(Input) ([]Object, error) {
	return func(in Input) ([]Object, error) {
		if o := build(in); o != nil {
			return []Object{o}, nil
		}
		return nil, nil
	}
}

// objectsOf converts a list of objects of one kind.
func objectsOf[T any, P objectOf[T]](list []P) []Object {
	var out []Object
	for _, o := range list {
		out = append(out, o)
	}
	return out
}

// ofService adapts a function that returns the object of a Service or nil.
func ofService[T any, P objectOf[T]](build func(serviceInput) P) func(Input) ([]Object, error) {
	return one(func(in Input) P { return build(in.service()) })
}

// IsOfService reports whether the objects of a kind have the scope of a Service.
func IsOfService(kind schema.GroupKind) bool {
	return slices.ContainsFunc(kinds, func(k Kind) bool { return k.GroupKind() == kind && k.Scope == ScopeService })
}

// Kinds returns all kinds of child objects, in the order in which they are
// applied.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }

// Resources lists the plural names of the kinds with their API groups, as kubectl
// accepts them.
func Resources() []string {
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		resource, _ := apimeta.UnsafeGuessKindToResource(k.GroupVersionKind)
		out = append(out, resource.GroupResource().String())
	}
	return out
}

// Reported returns the kinds that a condition reports.
func Reported(t v1alpha1.ConditionType) []Kind {
	var out []Kind
	for _, k := range kinds {
		if k.Condition == t {
			out = append(out, k)
		}
	}
	return out
}

// Prunable returns the kinds whose objects are deleted when they are no longer
// desired.
func Prunable() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, k := range kinds {
		if !k.Retained {
			out = append(out, k.GroupVersionKind)
		}
	}
	return out
}

// Desired returns the desired objects in the order in which to apply them. The
// spec must be one that validate.Spec accepts.
func Desired(in Input) ([]Object, error) {
	var objects []Object
	for _, k := range kinds {
		built, err := k.build(in)
		if err != nil {
			return nil, err
		}
		objects = append(objects, built...)
	}
	return objects, nil
}

// PodNATConfigurations returns only the desired PodNATConfigurations. While a
// spec is not accepted, a pod that starts gets the rules of Input.LastAccepted.
func PodNATConfigurations(in Input) []Object {
	objects, _ := podNATConfigurations(in) // It returns no error.
	return objects
}
