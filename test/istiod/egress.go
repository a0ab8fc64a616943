// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"fmt"
	"slices"
	"strings"
)

// Egress is how a proxy forwards the connections that its pod opens.
type Egress struct {
	// Unknown are the destinations of connections to addresses that the proxy does
	// not know, by kind: for TCP a cluster, for an HTTP port a virtual host.
	Unknown []string `json:"unknown"`
	// Hosts are the services that the proxy knows, with port and type.
	Hosts []string `json:"hosts"`
}

// egress returns the destinations of the pod's connections.
func (r resources) egress() *Egress {
	e := &Egress{}
	for _, l := range r.listeners {
		if l.Name != "virtualOutbound" {
			continue
		}
		for _, c := range l.chains() {
			// One chain refuses connections to the port of the listener itself.
			if p, ok := c.tcp(); ok && c.FilterChainMatch.DestinationPort == 0 {
				e.Unknown = append(e.Unknown, "TCP: "+p.Cluster)
			}
		}
	}
	for _, name := range sortedKeys(r.routes) {
		for _, h := range r.routes[name].VirtualHosts {
			if h.Name == "block_all" || h.Name == "allow_any" {
				e.Unknown = append(e.Unknown, fmt.Sprintf("HTTP %s: %s", name, h.Name))
			}
		}
	}
	for _, c := range r.clusters {
		if parts := strings.Split(c.Name, "|"); len(parts) == 4 && parts[0] == "outbound" && parts[2] == "" {
			e.Hosts = append(e.Hosts, fmt.Sprintf("%s:%s %s", parts[3], parts[1], c.Type))
		}
	}
	slices.Sort(e.Hosts)
	return e
}
