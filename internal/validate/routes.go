// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
)

// maxRoutes is the limit of routes of a kind in the CRD (hack/tools/crdgen).
const maxRoutes = 32

// routes rejects routes that Istio rejects, that lead to other namespaces, or that apply
// to no port.
func (e *Errors) routes(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	e.hosts(cluster, mvm, path)
	e.gateways(cluster, mvm, path.Child("gateways"))
	c := routeChecker{e, mvm, mvm.ServiceFQDN(cluster.Domain)}
	r := mvm.Spec.Mesh.Routes
	for i, route := range r.HTTP {
		c.http(route, path.Child("http").Index(i))
	}
	for i, route := range r.TLS {
		c.tls(route, path.Child("tls").Index(i))
	}
	for i, route := range r.TCP {
		c.tcp(route, path.Child("tcp").Index(i))
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"http", len(r.HTTP)}, {"tls", len(r.TLS)}, {"tcp", len(r.TCP)}} {
		if list.n > maxRoutes {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child(list.name), "must have at most %d entries", maxRoutes)
		}
	}
}

// noNull rejects a null entry of a list, for objects that were stored without the schema.
const noNull = "must not be null: remove the entry"

// routeChecker checks the routes of a spec.
type routeChecker struct {
	*Errors
	mvm  *v1alpha1.MeshedVirtualMachine
	fqdn string
}

func (c routeChecker) http(route *networkingv1alpha3.HTTPRoute, at *field.Path) {
	switch {
	case route == nil:
		c.Reject(v1alpha1.ReasonInvalidSpec, at, noNull)
		return
	case route.GetDelegate() != nil:
		c.Reject(v1alpha1.ReasonInvalidSpec, at.Child("delegate"), "the routes of another VirtualService are not validated: specify its routes in mesh.routes.http")
		return
	}
	problems := len(c.errs)
	for i, m := range route.GetMatch() {
		match := at.Child("match").Index(i)
		c.match(m, v1alpha1.Port.IsMeshedHTTP, "HTTP port via Mesh", match)
	}
	c.destinations(meshroutes.HTTPDestinationsAt(route, at))
	c.istio(problems, at, func(r meshroutes.Routes, vs *networkingv1alpha3.VirtualService) bool {
		vs.Http = r.HTTPRoute(route)
		return len(vs.GetHttp()) > 0
	})
}

func (c routeChecker) tls(route *networkingv1alpha3.TLSRoute, at *field.Path) {
	if route == nil {
		c.Reject(v1alpha1.ReasonInvalidSpec, at, noNull)
		return
	}
	problems := len(c.errs)
	for i, m := range route.GetMatch() {
		match := at.Child("match").Index(i)
		c.match(m, v1alpha1.Port.IsMeshedTLS, "TLS port via Mesh", match)
		c.serverNames(m.GetSniHosts(), match.Child("sniHosts"))
	}
	if len(route.GetMatch()) == 0 {
		c.Reject(v1alpha1.ReasonInvalidSpec, at.Child("match"), "is required: add a match with sniHosts")
	}
	c.withoutHeadless("tls", at)
	c.destinations(meshroutes.DestinationsAt(route.GetRoute(), at))
	c.istio(problems, at, func(r meshroutes.Routes, vs *networkingv1alpha3.VirtualService) bool {
		vs.Tls = r.TLSRoute(route)
		return len(vs.GetTls()) > 0
	})
}

func (c routeChecker) tcp(route *networkingv1alpha3.TCPRoute, at *field.Path) {
	if route == nil {
		c.Reject(v1alpha1.ReasonInvalidSpec, at, noNull)
		return
	}
	problems := len(c.errs)
	for i, m := range route.GetMatch() {
		match := at.Child("match").Index(i)
		c.match(m, meshroutes.IsTCP, "TCP port via Mesh that is neither HTTP nor TLS", match)
		if len(m.GetGateways()) > 0 {
			c.Reject(v1alpha1.ReasonInvalidSpec, match.Child("gateways"), "TCP connections have no host name by which a gateway could select the guest: remove gateways")
		}
	}
	c.withoutHeadless("tcp", at)
	c.destinations(meshroutes.DestinationsAt(route.GetRoute(), at))
	c.istio(problems, at, func(r meshroutes.Routes, vs *networkingv1alpha3.VirtualService) bool {
		vs.Tcp = r.TCPRoute(route)
		return len(vs.GetTcp()) > 0
	})
}

// match rejects ports and gateways of a match that are not those of the guest.
func (c routeChecker) match(m meshroutes.Match, is func(v1alpha1.Port) bool, what string, path *field.Path) {
	if n := m.GetPort(); n != 0 && !slices.ContainsFunc(c.mvm.Spec.Ports, func(p v1alpha1.Port) bool { return is(p) && v1alpha1.IstioPort(p.Port) == n }) {
		c.Reject(v1alpha1.ReasonInvalidPort, path.Child("port"), "%d is not the port of an %s in spec.ports: correct the number, or remove port to match all of them", n, what)
	}
	known := meshroutes.Gateways(c.mvm)
	for i, g := range m.GetGateways() {
		if g != meshroutes.MeshGateway && !slices.Contains(known, meshroutes.Qualified(c.mvm, g)) {
			c.Reject(v1alpha1.ReasonInvalidSpec, path.Child("gateways").Index(i), "%q is neither \"mesh\" nor an entry of mesh.routes.gateways: correct the name, or add it there", g)
		}
	}
}

// serverNames rejects server names for which neither VirtualService has a host.
func (c routeChecker) serverNames(names []string, path *field.Path) {
	if len(names) == 0 {
		c.Reject(v1alpha1.ReasonInvalidSpec, path, "is required: add %s for clients in the mesh, or entries of mesh.routes.hosts for gateways", c.fqdn)
	}
	for i, name := range names {
		if !meshroutes.Within([]string{c.fqdn}, name) && !meshroutes.Within(c.mvm.Spec.Mesh.Routes.Hosts, name) {
			c.Reject(v1alpha1.ReasonHostNotAllowed, path.Index(i), "%q is neither %s, the name of the Service, nor an entry of mesh.routes.hosts: correct the name, or add it to hosts", name, c.fqdn)
		}
	}
}

// withoutHeadless rejects routes of connections to a headless Service.
func (c routeChecker) withoutHeadless(kind string, path *field.Path) {
	if c.mvm.Spec.IsHeadless() {
		c.Reject(v1alpha1.ReasonInvalidSpec, path, "proxies connect to the pods of a headless Service regardless of %s routes: remove the route, or create a MeshedVirtualMachine with another service.type", kind)
	}
}

// destinations rejects destinations in other namespaces, which the user of this
// namespace might not be permitted to use, and ports and subsets that cannot exist.
func (c routeChecker) destinations(all []meshroutes.FieldDestination) {
	_, suffix, _ := strings.Cut(c.fqdn, ".")
	for _, f := range all {
		d := f.Destination
		if d == nil {
			c.Reject(v1alpha1.ReasonInvalidSpec, f.Field, "is required: use {} for the Service of the guest")
			continue
		}
		if !meshroutes.IsOwn(c.mvm, c.fqdn, d.GetHost()) {
			name, below, qualified := strings.Cut(d.GetHost(), ".")
			if !labelShape.MatchString(name) || qualified && below != suffix {
				c.Reject(v1alpha1.ReasonHostNotAllowed, f.Field.Child("host"), "%q is not a Service of namespace %s: use the name of a Service as NAME or NAME.%s", d.GetHost(), c.mvm.Namespace, suffix)
			}
			continue
		}
		if d.GetSubset() != "" && c.mvm.Spec.IsHeadless() {
			c.Reject(v1alpha1.ReasonInvalidSpec, f.Field.Child("subset"), "a headless Service has no subsets: remove subset")
		}
		if d.Port != nil && !slices.ContainsFunc(c.mvm.Spec.Ports, func(p v1alpha1.Port) bool {
			return p.ProtocolOrDefault() == v1alpha1.PortProtocolTCP && v1alpha1.IstioPort(p.Port) == d.GetPort().GetNumber()
		}) {
			c.Reject(v1alpha1.ReasonInvalidPort, f.Field.Child("port", "number"), "%d is not the port of a TCP port in spec.ports: correct the number, or remove port for the port of the connection", d.GetPort().GetNumber())
		}
	}
}
