// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
)

// The patterns of api/v1alpha1/routes_types.go.
var (
	hostShape    = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$`)
	gatewayShape = regexp.MustCompile(`^([a-z0-9-]+/)?[a-z0-9-]+$`)
)

// hosts rejects hosts of gateways that are names of the cluster, or so general that they
// contain hosts of others.
func (e *Errors) hosts(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	r := mvm.Spec.Mesh.Routes
	if (len(r.Hosts) == 0) != (len(r.Gateways) == 0) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "hosts and gateways require each other: set both, or remove both; the name of the Service is always a host for clients in the mesh")
	}
	if len(r.Hosts) > 0 && !slices.ContainsFunc(mvm.Spec.Ports, func(p v1alpha1.Port) bool { return p.IsMeshedHTTP() || p.IsMeshedTLS() }) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("gateways"), "the guest has no HTTP or TLS port via Mesh, and gateways select other connections only by their port, which all guests share: remove gateways and hosts, or set appProtocol of a port")
	}
	for i, h := range r.Hosts {
		at := path.Child("hosts").Index(i)
		if problem := hostProblem(cluster, h); problem != "" {
			e.Reject(v1alpha1.ReasonHostNotAllowed, at, "%s", problem)
		}
		for _, other := range r.Hosts[:i] {
			if meshroutes.Within([]string{other}, h) || meshroutes.Within([]string{h}, other) {
				e.Reject(v1alpha1.ReasonInvalidSpec, at, "%q and %q overlap, which Istio rejects: remove one of them", h, other)
			}
		}
	}
}

func hostProblem(cluster Cluster, h string) string {
	domain := cmp.Or(cluster.Domain, v1alpha1.DefaultClusterDomain)
	suffix, wildcard := strings.CutPrefix(h, "*.")
	const external = "use a DNS name outside the cluster, for example shop.example.com"
	switch {
	case h == "*":
		return "the host \"*\" would route every request of the gateways to the guest: " + external
	case !hostShape.MatchString(h):
		return "invalid host: must be a DNS name with a dot, or a wildcard such as *.shop.example.com"
	case isOfCluster(suffix, domain):
		return "names of the cluster's domain " + domain + " and of its Services (svc, clusterset.local) belong to Services: " + external
	case isOfCluster(h, domain):
		return "the wildcard is too general and contains the cluster's domain " + domain + ": " + external + ", or a wildcard below such a name"
	}
	if name, namespace, _ := strings.Cut(h, "."); !wildcard && !strings.Contains(namespace, ".") && cluster.IsService != nil && cluster.IsService(namespace, name) {
		return "is the name of Service " + namespace + "/" + name + ": " + external
	}
	return ""
}

// gateways rejects gateways that the administrator does not permit.
func (e *Errors) gateways(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	all := meshroutes.Gateways(mvm)
	for i, g := range mvm.Spec.Mesh.Routes.Gateways {
		at := path.Index(i)
		switch {
		case g == meshroutes.MeshGateway:
			e.Reject(v1alpha1.ReasonGatewayNotAllowed, at, "must not be \"mesh\", because the hosts of the spec would then replace hosts of other workloads for all clients in the mesh: list only Gateways")
		case !gatewayShape.MatchString(g):
			e.Reject(v1alpha1.ReasonGatewayNotAllowed, at, "invalid gateway %q: must be NAMESPACE/NAME, or NAME for one in namespace %s", g, mvm.Namespace)
		case slices.Contains(all[:i], all[i]):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "duplicate gateway %s: keep one entry", all[i])
		case !permitted(cluster.Gateways, mvm.Namespace, all[i]):
			e.Reject(v1alpha1.ReasonGatewayNotAllowed, at, "Gateway %s is in another namespace, and %s of the OperatorConfiguration does not permit it: use a Gateway in namespace %s, or ask an administrator to set mode Listed and to add %s to allowed",
				all[i], "tenancy.gateways", mvm.Namespace, all[i])
		}
	}
}

// permitted reports whether guests of a namespace may name a Gateway.
func permitted(tenancy configv1alpha1.Gateways, own, gateway string) bool {
	namespace, _, _ := strings.Cut(gateway, "/")
	switch tenancy.Mode {
	case configv1alpha1.GatewaysAny:
		return true
	case configv1alpha1.GatewaysListed:
		return namespace == own || slices.Contains(tenancy.Allowed, gateway) || slices.Contains(tenancy.Allowed, namespace+"/*")
	default:
		return namespace == own
	}
}
