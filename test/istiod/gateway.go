// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"cmp"
	"slices"
	"strings"
)

// GatewayHosts are hosts of a port of a gateway.
type GatewayHosts struct {
	Port     int      `json:"port"`
	Protocol string   `json:"protocol"`
	Hosts    []string `json:"hosts"`
	Routes   []Route  `json:"routes"`
}

// gateway returns the hosts of a gateway, with the routes to the Service.
func (r resources) gateway(host string) []GatewayHosts {
	var all []GatewayHosts
	for _, l := range r.listeners {
		port := l.Address.SocketAddress.PortValue
		for _, c := range l.chains() {
			if m, ok := c.http(); ok && m.RDS != nil {
				for _, h := range r.routes[m.RDS.RouteConfigName].VirtualHosts {
					all = append(all, GatewayHosts{Port: port, Protocol: "HTTP", Hosts: h.Domains, Routes: httpRoutes(h, host)})
				}
				continue
			}
			if p, ok := c.tcp(); ok {
				to, _ := targets(p.Cluster, p.WeightedClusters, host)
				all = append(all, GatewayHosts{Port: port, Protocol: "TLS", Hosts: c.FilterChainMatch.ServerNames, Routes: []Route{{To: to}}})
			}
		}
	}
	slices.SortFunc(all, func(a, b GatewayHosts) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(strings.Join(a.Hosts, " "), strings.Join(b.Hosts, " ")))
	})
	return all
}
