// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The patterns and values of api/v1alpha1/egress_types.go.
var (
	egressHostShape   = regexp.MustCompile(`^([*.]|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/(\*|(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$`)
	externalHostShape = regexp.MustCompile(`^(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	externalProtocols = []v1alpha1.ExternalProtocol{"HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", v1alpha1.ExternalProtocolTCP}
)

// egress rejects destinations that Istio rejects, or whose names or addresses could
// replace services of the cluster.
func (e *Errors) egress(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	spec := mvm.Spec.Mesh.Egress
	if !spec.IsSet() {
		return
	}
	if isAmbient(mvm) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "applies only to dataPlane Sidecar, because ztunnel does not limit outbound connections: remove it, or set mesh.dataPlane to Sidecar")
	}
	if m := spec.Outbound; m != "" && m != v1alpha1.OutboundModeRegistryOnly && m != v1alpha1.OutboundModeAllowAny {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("outbound"), "invalid value %q: must be RegistryOnly or AllowAny", m)
	}
	for i, h := range spec.Hosts {
		if !egressHostShape.MatchString(h) || slices.Contains(spec.Hosts[:i], h) {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("hosts").Index(i), "invalid entry %q: must be NAMESPACE/HOST, for example ./* or istio-system/*, and be listed once", h)
		}
	}
	names := map[string]bool{}
	for i, s := range spec.Services {
		at := path.Child("services").Index(i)
		if !labelShape.MatchString(s.Name) || names[s.Name] {
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("name"), "invalid name %q: must be a DNS label that no other entry has", s.Name)
		}
		names[s.Name] = true
		e.externalService(cmp.Or(cluster.Domain, v1alpha1.DefaultClusterDomain), s, at)
	}
}

func (e *Errors) externalService(domain string, s v1alpha1.ExternalService, path *field.Path) {
	none := s.Resolution == v1alpha1.ServiceResolutionNone
	if !none && s.Resolution != "" && s.Resolution != v1alpha1.ServiceResolutionDNS {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("resolution"), "invalid value %q: must be DNS or None", s.Resolution)
	}
	e.externalHosts(domain, s, path.Child("hosts"))
	for i, a := range s.Addresses {
		at := path.Child("addresses").Index(i)
		if p, err := ParseCIDR(a); err != nil {
			e.Reject(v1alpha1.ReasonInvalidCIDR, at, "%s", err)
		} else if p.Bits() == 0 {
			e.Reject(v1alpha1.ReasonInvalidCIDR, at, "%q contains all addresses, so that the service would receive every connection to its ports: use the networks of the service", a)
		}
	}
	if len(s.Addresses) > 0 && !none {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("addresses"), "are the destinations to which the guest connects: set resolution to None, or remove addresses")
	}
	e.externalPorts(s, path.Child("ports"))
}

func (e *Errors) externalHosts(domain string, s v1alpha1.ExternalService, path *field.Path) {
	if len(s.Hosts) == 0 {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must have at least one entry: add the name of the external host")
	}
	for i, h := range s.Hosts {
		switch at := path.Index(i); {
		case !externalHostShape.MatchString(h) || slices.Contains(s.Hosts[:i], h):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "invalid host %q: must be a fully qualified name such as api.example.com or *.example.com, and be listed once", h)
		case isOfCluster(h, domain):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "%q includes names of the cluster, so that the external service could replace a service of the cluster: use the name of an external host", h)
		case strings.HasPrefix(h, "*") && s.Resolution != v1alpha1.ServiceResolutionNone:
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "a wildcard host has no address that the proxy can resolve: list the hosts, or set resolution to None")
		}
	}
}

func (e *Errors) externalPorts(s v1alpha1.ExternalService, path *field.Path) {
	if len(s.Ports) == 0 {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must have at least one entry: add the port of the external host")
	}
	numbers := map[int32]bool{}
	for i, p := range s.Ports {
		at := path.Index(i)
		e.PortNumber(p.Number, at.Child("number"))
		if numbers[p.Number] {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("number"), "duplicate port %d: list each port once", p.Number)
		}
		numbers[p.Number] = true
		if !slices.Contains(externalProtocols, p.Protocol) {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("protocol"), "invalid protocol %q: must be HTTP, HTTP2, GRPC, HTTPS, TLS or TCP", p.Protocol)
		}
		if p.Protocol == v1alpha1.ExternalProtocolTCP && len(s.Addresses) == 0 {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("protocol"), "a TCP connection contains no host name, so that the service would receive every connection to port %d from the namespace: set addresses, or use protocol TLS or HTTP", p.Number)
		}
	}
}

// isOfCluster reports whether a host is or includes a name by which clients call services of
// the cluster: in the domain of the cluster or of a set of clusters, or without a domain.
func isOfCluster(host, domain string) bool {
	base, wildcard := strings.CutPrefix(host, "*.")
	for _, d := range []string{domain, v1alpha1.DefaultClusterDomain, "clusterset.local", "svc"} {
		if base == d || strings.HasSuffix(base, "."+d) || wildcard && strings.HasSuffix(d, "."+base) {
			return true
		}
	}
	return false
}
