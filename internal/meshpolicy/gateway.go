// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pkg/config/host"
	"istio.io/istio/pkg/config/protocol"
)

// Published are hosts that a VirtualService has at gateways.
type Published struct {
	// Namespace is the namespace of the VirtualService, and Hosts are its hosts.
	Namespace string
	Hosts     []string
	// HTTP and TLS report whether the VirtualService has routes for HTTP requests, and for
	// TLS connections that a gateway passes through.
	HTTP, TLS bool
}

// At returns the hosts for which a Gateway uses the VirtualService. It follows Istio
// (pilot/pkg/networking/core, buildGatewayHTTPRouteConfig and pickMatchingGatewayHosts;
// pilot/pkg/model, sanitizeServerHostNamespace; pkg/config/gateway): a server permits a host
// if one of its hosts overlaps with it and has no namespace, "*", the namespace of the
// VirtualService, or "." if this is also the namespace of the Gateway.
func (p Published) At(g *networkingv1.Gateway) []string {
	var out []string
	for _, h := range p.Hosts {
		if slices.ContainsFunc(g.Spec.GetServers(), func(s *networkingv1alpha3.Server) bool {
			return p.usedBy(s) && slices.ContainsFunc(s.GetHosts(), func(permitted string) bool { return p.permits(permitted, g.Namespace, h) })
		}) {
			out = append(out, h)
		}
	}
	return out
}

// usedBy reports whether a server uses the routes of the VirtualService: its protocol is
// HTTP or HTTPS that the gateway terminates, or TLS that the gateway passes through to the
// host of the connection.
func (p Published) usedBy(s *networkingv1alpha3.Server) bool {
	instance, mode := protocol.Parse(s.GetPort().GetProtocol()), s.GetTls().GetMode()
	switch {
	case instance.IsHTTP():
		return p.HTTP
	case s.GetTls() == nil || !instance.IsTLS() || mode == networkingv1alpha3.ServerTLSSettings_AUTO_PASSTHROUGH:
		return false
	case mode == networkingv1alpha3.ServerTLSSettings_PASSTHROUGH: // The default.
		return p.TLS
	default:
		return p.HTTP && instance.IsHTTPS()
	}
}

// permits reports whether a host of a server includes a host of the VirtualService.
func (p Published) permits(permitted, gatewayNamespace, h string) bool {
	namespace, name, qualified := strings.Cut(permitted, "/")
	if !qualified {
		namespace, name = "*", permitted
	}
	if namespace == "." {
		namespace = gatewayNamespace
	}
	return (namespace == "*" || namespace == p.Namespace) && host.Name(name).Matches(host.Name(h))
}
