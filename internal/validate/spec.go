// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"regexp"
	"time"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// MaxNameLength is the length of the longest name of a virtual machine that
// KubeVirt can live-migrate.
const MaxNameLength = 47

var nameShape = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

// Cluster contains facts about the cluster on which the answer depends. The zero value
// stands for an unknown cluster.
type Cluster struct {
	// Resolvers are the addresses of the cluster's DNS resolvers.
	Resolvers []string
	// Domain is the DNS domain of the cluster.
	Domain string
	// RootNamespace is the root namespace of Istio.
	RootNamespace string
	// Gateways specifies the permitted Gateways. The zero value permits only those of
	// the namespace.
	Gateways configv1alpha1.Gateways
	// Patches specifies whether patches are permitted. They are not by default.
	Patches configv1alpha1.Mode
	// Adoption specifies who may let MeshedVirtualMachines adopt existing VirtualMachines.
	// The reconciler checks it, because it depends on the VirtualMachine.
	Adoption configv1alpha1.AdoptionMode
	// IsService reports whether a Service exists. It is nil for an unknown cluster.
	IsService func(namespace, name string) bool
	// WithoutWebhook is set if the operator's webhook does not change pods.
	WithoutWebhook bool
	// HasServiceAccount reports whether a service account exists. It is nil for an
	// unknown cluster.
	HasServiceAccount func(namespace, name string) bool
}

// isRoot reports whether the namespace is Istio's root namespace, where selectors apply to
// the pods of all namespaces.
func (c Cluster) isRoot(namespace string) bool {
	return c.RootNamespace != "" && namespace == c.RootNamespace
}

// Spec is SpecIn for an unknown cluster.
func Spec(mvm *v1alpha1.MeshedVirtualMachine) error { return SpecIn(Cluster{}, mvm) }

// SpecIn rejects specs that the operator cannot implement. It checks everything
// that CEL rules cannot check, and repeats their checks for objects that were
// stored before a rule existed. The error joins one *Invalid per rejected field.
func SpecIn(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine) error {
	e := &Errors{}
	if mvm == nil {
		e.Reject(v1alpha1.ReasonInvalidSpec, nil, "the MeshedVirtualMachine is missing")
		return e.Join()
	}
	if mvm.SpecError != "" {
		e.Reject(v1alpha1.ReasonInvalidSpec, nil, "the operator cannot read a field: %s; correct the field", mvm.SpecError)
		return e.Join()
	}
	spec := field.NewPath("spec")
	e.name(mvm.Name)
	e.virtualMachine(mvm, spec.Child("virtualMachine"))
	e.resolver(cluster, mvm)
	e.metadata(mvm.Spec.VirtualMachineMetadata.Labels, mvm.Spec.VirtualMachineMetadata.Annotations, spec.Child("virtualMachineMetadata"))
	e.ports(mvm.Spec.Ports, spec.Child("ports"))
	e.service(mvm, spec)
	e.dataPlane(mvm, spec.Child("mesh"))
	e.identity(cluster, mvm, spec.Child("mesh", "identity"))
	e.exportTo(mvm, spec.Child("mesh", "exportTo"))
	e.rootNamespace(cluster, mvm, spec.Child("mesh"))
	e.allow(mvm, spec.Child("mesh", "allow"))
	e.authorization(mvm, spec.Child("mesh", "authorization"))
	e.routes(cluster, mvm, spec.Child("mesh", "routes"))
	e.authentication(mvm, spec.Child("mesh", "authentication"))
	e.egress(cluster, mvm, spec.Child("mesh", "egress"))
	e.telemetry(mvm, spec.Child("mesh", "telemetry"))
	e.waypoint(mvm, spec.Child("mesh", "waypoint"))
	e.sharedModes(mvm, spec.Child("ports"))
	e.limits(cluster, mvm, spec.Child("ports"))
	e.capture(mvm, spec.Child("capture"))
	e.patches(cluster, mvm, spec.Child("patches"))
	return e.Join()
}

func (e *Errors) name(name string) {
	path := field.NewPath("metadata", "name")
	if len(name) > MaxNameLength {
		e.Reject(v1alpha1.ReasonNameTooLong, path,
			"must be at most %d characters: KubeVirt cannot live-migrate a virtual machine with a longer name", MaxNameLength)
		return
	}
	if !nameShape.MatchString(name) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must be a DNS label that starts with a letter, because it also names the Service")
	}
}

func (e *Errors) ports(ports []v1alpha1.Port, path *field.Path) {
	names := map[string]bool{}
	type key struct {
		protocol v1alpha1.PortProtocol
		number   int32
	}
	published, targets := map[key]bool{}, map[key]v1alpha1.Port{}
	for i, p := range ports {
		at := path.Index(i)
		e.port(p, at)
		if names[p.Name] {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("name"), "duplicate name %q: give each port another name", p.Name)
		}
		names[p.Name] = true
		if k := (key{p.ProtocolOrDefault(), p.Port}); published[k] {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("port"), "duplicate %s port %d: port must be unique per protocol", k.protocol, k.number)
		} else {
			published[k] = true
		}
		k := key{p.ProtocolOrDefault(), p.TargetPortOrDefault()}
		if other, ok := targets[k]; ok && (other.ViaOrDefault() != p.ViaOrDefault() || other.AppProtocolOrDefault() != p.AppProtocolOrDefault()) {
			e.Reject(v1alpha1.ReasonInvalidPort, targetPath(p, at),
				"port %q has the same %s port %d of the guest: give both the same via and appProtocol, which defaults to the protocol that the name starts with, because the proxy distinguishes connections by this port",
				other.Name, k.protocol, k.number)
		}
		targets[k] = p
	}
}

// targetPath returns the field that contains the number of the guest's port.
func targetPath(p v1alpha1.Port, path *field.Path) *field.Path {
	if p.TargetPort != 0 {
		return path.Child("targetPort")
	}
	return path.Child("port")
}

func (e *Errors) port(p v1alpha1.Port, path *field.Path) {
	if p.Name == "" {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("name"), "is required")
	}
	e.PortNumber(p.Port, path.Child("port"))
	if p.TargetPort != 0 {
		e.PortNumber(p.TargetPort, path.Child("targetPort"))
	}
	switch p.ProtocolOrDefault() {
	case v1alpha1.PortProtocolTCP:
		if IsReserved(p.TargetPortOrDefault()) {
			e.RejectReserved(p.TargetPortOrDefault(), targetPath(p, path))
		}
	case v1alpha1.PortProtocolUDP:
		if p.ViaOrDefault() == v1alpha1.PortViaMesh {
			e.Reject(v1alpha1.ReasonInvalidPort, path.Child("via"), "the mesh does not carry UDP: omit via or set it to Direct")
		}
		if p.AppProtocol != "" {
			e.Reject(v1alpha1.ReasonInvalidPort, path.Child("appProtocol"), "appProtocol applies only to TCP: omit it for UDP")
		}
	default:
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("protocol"), "invalid protocol %q: must be TCP or UDP", p.Protocol)
	}
	if v := p.ViaOrDefault(); v != v1alpha1.PortViaMesh && v != v1alpha1.PortViaDirect {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("via"), "invalid value %q: must be Mesh or Direct", p.Via)
	}
	if p.MTLS != "" && !p.IsMeshed() {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("mtls"), "applies only to TCP ports via Mesh: omit mtls, or set via to Mesh")
	}
	e.requests(p, path)
}

// sharedModes rejects different modes for ports that lead to the same port of the
// guest, because Istio's modes apply to the ports of the guest.
func (e *Errors) sharedModes(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	first := map[int32]v1alpha1.Port{}
	for i, p := range mvm.Spec.Ports {
		if !p.IsMeshed() {
			continue
		}
		other, ok := first[p.TargetPortOrDefault()]
		if !ok {
			first[p.TargetPortOrDefault()] = p
			continue
		}
		if a, b := mvm.Spec.MTLSModeOf(other), mvm.Spec.MTLSModeOf(p); a != b {
			e.Reject(v1alpha1.ReasonInvalidPort, path.Index(i).Child("mtls"),
				"port %q has the same port %d of the guest and mutual TLS mode %s instead of %s: set the same mtls on both ports, because Istio applies modes to ports of the guest",
				other.Name, p.TargetPortOrDefault(), a, b)
		}
	}
}

// requests rejects settings of HTTP requests that Istio rejects or that have no
// effect on the port.
func (e *Errors) requests(p v1alpha1.Port, path *field.Path) {
	if p.Timeout != "" {
		// Istio rejects shorter durations and fractions of a millisecond
		// (pkg/config/validation/agent).
		d, err := time.ParseDuration(p.Timeout)
		if err != nil || d < time.Millisecond || d%time.Millisecond != 0 {
			e.Reject(v1alpha1.ReasonInvalidPort, path.Child("timeout"),
				"must be a duration in whole milliseconds of at least 1ms, for example 5s: omit timeout for no limit")
		}
	}
	// Istio ignores the other fields without attempts (pilot/pkg/networking/core/route/retry),
	// and rejects some of them (pkg/config/validation, validateHTTPRetry).
	if r := p.Retries; r != nil && (r.Attempts < 0 || r.Attempts == 0 && !proto.Equal(r, &networkingv1alpha3.HTTPRetry{})) {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("retries", "attempts"),
			"must be positive, because 0 turns retries off: set a positive number, or remove the other fields of retries")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"timeout", p.Timeout != ""}, {"retries", p.Retries != nil}} {
		switch at := path.Child(f.name); {
		case !f.set || p.IsMeshedHTTP():
		case !p.IsMeshed():
			e.Reject(v1alpha1.ReasonInvalidPort, at, "applies only to TCP ports via Mesh: omit %s, or set via to Mesh", f.name)
		default:
			e.Reject(v1alpha1.ReasonInvalidPort, at, "applies only to HTTP, and the protocol of port %q is %s: set appProtocol to an HTTP protocol, or remove %s",
				p.Name, p.AppProtocolOrDefault(), f.name)
		}
	}
}
